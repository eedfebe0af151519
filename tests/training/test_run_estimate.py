"""How long the rest of a training may take, from its first epoch and validation."""

import logging

import pytest

from recbole_microlens.training import run_estimate
from recbole_microlens.training.run_estimate import Outlook, in_words


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run_estimate, "perf_counter", lambda: now[0])
    return now


def test_the_rest_of_a_training_is_said_once_after_its_first_validation(clock, caplog):
    caplog.set_level(logging.INFO)
    outlook = Outlook(epochs=101, step=1, patience=10)
    for epoch in range(3):
        outlook.after_epoch(epoch, 12.0)
        clock[0] += 3.0
        outlook.after_validation()
    assert caplog.messages == [
        "an epoch takes 12 s, a validation 3.0 s: at most 100 epochs and 100 validations more, about 25 min; "
        "less if more than 10 validations in a row are no better"
    ]


def test_epochs_between_two_validations_count(clock, caplog):
    caplog.set_level(logging.INFO)
    outlook = Outlook(epochs=20, step=5, patience=10)
    for epoch in range(10, 15):  # resumed at epoch 10
        outlook.after_epoch(epoch, 100.0)
    clock[0] += 200.0
    outlook.after_validation()
    assert "at most 5 epochs and 1 validations more, about 12 min" in caplog.text


def test_without_validation_the_epochs_alone_count(clock, caplog):
    caplog.set_level(logging.INFO)
    Outlook(epochs=11, step=0, patience=10).after_epoch(0, 720.0)
    assert caplog.messages == ["an epoch takes 12 min: 10 more about 2.0 h"]


@pytest.mark.parametrize(("seconds", "words"), [(4.04, "4.0 s"), (80, "80 s"), (9000, "2.5 h")])
def test_seconds_in_words(seconds, words):
    assert in_words(seconds) == words
