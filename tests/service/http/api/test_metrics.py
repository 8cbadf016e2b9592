"""Which format of the metrics a client prefers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.api.metrics import wants_openmetrics

OPEN = "application/openmetrics-text"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        (OPEN, True),
        (
            f"{OPEN};version=1.0.0;q=0.5,{OPEN};version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            True,
        ),
        (f"{OPEN};version=1.0.0;q=0.3,text/plain;q=0.5", False),
        (f"{OPEN};q=0", False),
        (f"{OPEN};q=0.000, text/plain", False),
        (f"{OPEN};q=0.5, */*;q=0.6", False),
        (f"{OPEN};q=0.5, */*, text/plain;q=0.1", True),
        (f'{OPEN}; version="1.0.0"; q="0.9"', True),
        (f"{OPEN}; version=7", False),
        (f'text/html;x="a,{OPEN},b"', False),
        (f"{OPEN};q=nan", False),
        (f"{OPEN};q=2", False),
        (';;q=;=,/,;version,"', False),
        ("APPLICATION/OpenMetrics-Text", True),
    ],
)
def test_what_is_preferred(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


@given(st.text(alphabet='aq=;,"\\\\/*.01 -', max_size=200))
def test_nonsense_never_fails(accept: str) -> None:
    assert wants_openmetrics(accept) in (True, False)
