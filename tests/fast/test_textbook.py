"""`with textbook()`: pages run instead of kernels, inside the block, on this thread, and nowhere else."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minigrad import OPS
from minigrad.fast import textbook


@pytest.fixture
def kernel_runs(monkeypatch):
    """Asks by calling an op: does its kernel run now?"""
    calls = []
    kernel = OPS["gelu"].kernel

    def spy(*args, **static):
        calls.append(threading.get_ident())
        return kernel(*args, **static)

    monkeypatch.setattr(OPS["gelu"], "kernel", spy)

    def runs():
        before = calls.count(threading.get_ident())
        OPS["gelu"](np.ones(3))
        return calls.count(threading.get_ident()) > before

    return runs


def test_kernels_run_unless_told_otherwise(kernel_runs):
    assert kernel_runs()
    with textbook():
        assert not kernel_runs()
    assert kernel_runs()


def test_textbook_nests(kernel_runs):
    with textbook():
        with textbook():
            assert not kernel_runs()
        assert not kernel_runs()
    assert kernel_runs()


def test_textbook_ends_with_its_block_also_after_an_error(kernel_runs):
    with textbook():
        with pytest.raises(ZeroDivisionError), textbook():
            _ = 1 / 0
        assert not kernel_runs()
    with pytest.raises(ZeroDivisionError), textbook():
        _ = 1 / 0
    assert kernel_runs()


def in_thread(f):
    with ThreadPoolExecutor(1) as another:
        return another.submit(f).result()


def test_textbook_is_each_threads_own(kernel_runs):
    def read():
        with textbook():
            return kernel_runs()

    with textbook():
        assert in_thread(kernel_runs)
        assert not kernel_runs()
    assert in_thread(read) is False
    assert kernel_runs()
