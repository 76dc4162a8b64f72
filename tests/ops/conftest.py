"""Where an op has a kernel, what is claimed of the op is claimed of both: of the kernel, and of the page."""

import contextlib

import pytest

from minigrad import textbook


@pytest.fixture(params=["kernel", "page"])
def kernel_and_page(request):
    with textbook() if request.param == "page" else contextlib.nullcontext():
        yield request.param
