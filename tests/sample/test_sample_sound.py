"""The sound of a sample item: its pitch is that of the colour, and the same arguments give the same sound."""

import numpy as np

from recbole_microlens.sample.sound import HERTZ, SAMPLE_RATE, play
from recbole_microlens.sample.world import plan_items


def test_the_pitch_tells_the_colour():
    for item in plan_items(items=30):
        sound = play(item, 2.0, seed=2023)
        assert sound.shape == (2 * SAMPLE_RATE,) and np.abs(sound).max() <= 1
        hertz = np.abs(np.fft.rfft(sound)).argmax() / 2
        assert min(HERTZ, key=lambda colour: abs(np.log(HERTZ[colour] / hertz))) == item.colour


def test_equal_arguments_give_equal_sound_and_another_seed_another():
    item = plan_items(items=30)[0]
    assert np.array_equal(play(item, 1.0, seed=1), play(item, 1.0, seed=1))
    assert not np.array_equal(play(item, 1.0, seed=1), play(item, 1.0, seed=2))
