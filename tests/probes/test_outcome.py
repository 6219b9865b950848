from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

import probes.kinds
import probes.outcome
import steerd.model.kinds
import steerd.model.sample
from probes.outcome import DETAIL_LIMIT, REASON_LIMIT, Layer, Outcome, Stages, Status
from probes.redact import clean


def test_the_words_are_those_of_the_model() -> None:
    """Probes may not import steerd: this is what keeps the two vocabularies one."""
    for ours, theirs in (
        (probes.outcome.Status, steerd.model.sample.Status),
        (probes.outcome.Layer, steerd.model.sample.Layer),
    ):
        assert [(one.name, one.value) for one in ours] == [(one.name, one.value) for one in theirs]


@pytest.mark.parametrize("name", ["Kind", "Setting"])
def test_kinds_have_the_shape_of_the_models(name: str) -> None:
    ours = dataclasses.fields(getattr(probes.kinds, name))
    theirs = dataclasses.fields(getattr(steerd.model.kinds, name))
    assert [(f.name, f.default) for f in ours] == [(f.name, f.default) for f in theirs]
    assert probes.kinds.SettingType == steerd.model.kinds.SettingType


def test_reason_and_detail_are_bounded_and_on_one_line() -> None:
    outcome = Outcome(Status.FAIL, Layer.LIVENESS, "r\n" * 5000, detail="d\x00\r\n" * 5000, version="v" * 5000)
    assert outcome.reason is not None
    assert len(outcome.reason) <= REASON_LIMIT
    assert "\n" not in outcome.reason
    assert outcome.detail is not None
    assert len(outcome.detail) <= DETAIL_LIMIT
    assert "\x00" not in outcome.detail
    assert outcome.version is not None
    assert len(outcome.version) <= 64


@pytest.mark.parametrize(
    "text",
    [
        "GET https://user:s3cr3t-value@host/path failed",
        "Authorization: Bearer s3cr3t-value",
        "authorization: Basic s3cr3t-value",
        '{"api_key": "s3cr3t-value"}',
        "http://host/?api_key=s3cr3t-value&x=1",
        "X-API-Key: s3cr3t-value",
        "password=s3cr3t-value;",
        "access_token: 's3cr3t-value'",
        "client_secret=s3cr3t-value",
        "bearer s3cr3t-value",
        "Incorrect API key provided: sk-s3cr3t-value. You can find",
    ],
)
def test_credentials_do_not_get_out(text: str) -> None:
    outcome = Outcome(Status.ERROR, Layer.LIVENESS, text, detail=text)
    assert "s3cr3t-value" not in f"{outcome.reason} {outcome.detail}"
    assert "<redacted>" in (outcome.detail or "")


def test_plain_words_stay() -> None:
    text = "HTTP 503: the tokens of the queue are used up; password reset is at /reset"
    assert clean(text, 500) == text


@given(st.text(), st.integers(min_value=8, max_value=600))
def test_cleaning_bounds_any_text(text: str, limit: int) -> None:
    assert len(clean(text, limit)) <= limit


@given(st.text(alphabet="abcdefghijkmnpqrstuvwxyz0123456789", min_size=12, max_size=40), st.text(max_size=40))
def test_a_bearer_token_never_stays(token: str, around: str) -> None:
    assert f"q{token}" not in clean(f"{around} Authorization: Bearer q{token}", 4096)


def test_late_fills_in_the_delay_only() -> None:
    outcome = Outcome(Status.PASS, Layer.READINESS, duration_s=1.0)
    assert outcome.late(0.5) == dataclasses.replace(outcome, started_late_s=0.5)


def test_known_stages_leave_out_what_did_not_happen() -> None:
    assert Stages(connect_s=0.1, first_byte_s=0.0).known() == {"connect_s": 0.1, "first_byte_s": 0.0}


def test_cleaning_a_hostile_text_takes_no_time_to_speak_of() -> None:
    """Bounded input to every rule: what a server sends must not make this host work. The timeout of the suite judges."""
    for text in ("token" * 200_000, "-" * 1_000_000, "authorization:" * 70_000, "://" + "a" * 1_000_000):
        assert len(clean(text, DETAIL_LIMIT)) <= DETAIL_LIMIT


@pytest.mark.parametrize("text", [b"v\xff1".decode("utf-8", "surrogateescape"), "\ud800", "\udfff\ud800 \u00e9"])
def test_every_text_of_an_outcome_can_be_sent(text: str) -> None:
    outcome = Outcome(Status.FAIL, Layer.LIVENESS, text, version=text, detail=text, readings={text: 1.0})
    for one in (outcome.reason, outcome.version, outcome.detail, *outcome.readings):
        assert one is not None
        assert one.encode().decode() == one == text.encode("utf-8", "replace").decode()
