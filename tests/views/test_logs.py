from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

import weft


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    logger = logging.getLogger("weft")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_lines_go_to_standard_error_once(capsys: pytest.CaptureFixture[str]) -> None:
    weft.configure_logging("INFO")
    weft.configure_logging("info", rich=False)
    logging.getLogger("weft").info("hello")
    logging.getLogger("weft").debug("unseen")
    assert capsys.readouterr().err.count("INFO hello") == 1


def test_a_users_own_handler_stays() -> None:
    mine = logging.NullHandler()
    logging.getLogger("weft").addHandler(mine)
    weft.configure_logging()
    assert mine in logging.getLogger("weft").handlers


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        weft.configure_logging("loud")
