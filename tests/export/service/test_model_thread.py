"""One thread asks the model; short questions do not wait for long ones, nor long ones for ever."""

import asyncio
import threading
import time

import pytest
from export.service.asgi import in_own_loop

from recbole_microlens.export.service import model_thread
from recbole_microlens.export.service.model_thread import ModelThread


@pytest.fixture
def thread():
    found = ModelThread()
    found.start()
    yield found
    found.stop()


def test_all_work_is_done_in_one_thread_and_its_errors_come_back(thread):
    async def run():
        names = await asyncio.gather(*(thread.do(lambda: threading.current_thread().name) for _ in range(5)))
        with pytest.raises(ZeroDivisionError):
            await thread.do(lambda: 1 / 0)
        return set(names)

    assert in_own_loop(run()) == {"model"}


def test_a_short_question_goes_before_the_next_part_of_a_long_one(thread):
    order = []

    def part(number):
        time.sleep(0.02)
        order.append(number)
        return number

    async def run():
        long = asyncio.create_task(thread.do_parts(part(number) for number in range(6)))
        await asyncio.sleep(0.03)
        await thread.do(lambda: order.append("short"))
        return await long

    assert in_own_loop(run()) == list(range(6))
    assert 1 <= order.index("short") <= 3


def test_short_questions_do_not_keep_a_long_one_waiting_for_ever(thread, monkeypatch):
    monkeypatch.setattr(model_thread, "PATIENCE", 0.1)

    async def run():
        done = asyncio.Event()

        async def ask_all_the_time():
            while not done.is_set():
                await asyncio.gather(*(thread.do(lambda: time.sleep(0.005)) for _ in range(3)))

        busy = asyncio.create_task(ask_all_the_time())
        await asyncio.wait_for(thread.do_parts(iter(range(5))), timeout=10)
        done.set()
        await busy

    in_own_loop(run())


def test_what_nobody_waits_for_any_more_is_not_computed(thread):
    computed = []

    async def run():
        blocking = asyncio.create_task(thread.do(lambda: time.sleep(0.1)))
        await asyncio.sleep(0.01)
        task = asyncio.create_task(thread.do(lambda: computed.append(1)))
        await asyncio.sleep(0.01)
        task.cancel()
        await blocking
        await thread.do(lambda: None)

    in_own_loop(run())
    assert not computed


def test_the_event_loop_is_free_while_the_model_computes(thread):
    async def run():
        work = asyncio.create_task(thread.do(lambda: time.sleep(0.2)))
        start = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - start < 0.15
        await work

    in_own_loop(run())
