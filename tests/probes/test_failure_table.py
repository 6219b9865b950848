"""Which test is which row of the table of failure modes (probes.md of the design), and that each is still there.

P = tests/probes/test_failure_modes.py (`steerd probe` on the model server), A = tests/agent/test_failure_modes.py (a running agent
on it), W = tests/agent/test_way_to_the_target.py (both). On real engines: tests/engines, by `make test-engines`.
"""

from __future__ import annotations

import ast

import pytest

from tests.support.tree import ROOT

FILES = {
    "P": "tests/probes/test_failure_modes.py",
    "A": "tests/agent/test_failure_modes.py",
    "W": "tests/agent/test_way_to_the_target.py",
    "address": "tests/probes/test_addresses.py",
    "tls": "tests/probes/test_tls.py",
    "host": "tests/probes/test_host_faults.py",
    "self": "tests/agent/test_agent.py",
}
BY_LAYER = "test_a_failure_is_told_by_layer_and_reason"
NOT_TO_BLAME = "test_what_the_target_is_not_to_blame_for_is_an_alert"
ROWS: dict[str, tuple[str, ...]] = {
    "process dead, refused": ("P:test_a_dead_process", "A:test_a_killed_process_and_its_return"),
    "accepts, never answers": ("P:test_one_that_accepts_and_never_answers", f"A:{BY_LAYER}[hang]"),
    "engine dead or frozen, health and models 200": (
        "P:test_a_frozen_engine_behind_health_that_is_well",
        "P:test_a_killed_engine_process_behind_a_live_front",
        "P:test_a_front_whose_engine_lost_the_model_is_not_ready",
        f"A:{BY_LAYER}[stall]",
        f"A:{BY_LAYER}[unloaded]",
        "A:test_a_killed_engine_process_behind_a_live_front",
    ),
    "busy: health takes 30 s, counter moves": (
        "P:test_busy_is_saturated_and_not_dead",
        f"A:{BY_LAYER}[busy]",
        "A:test_thirty_seconds_of_saturation_never_become_unhealthy",
    ),
    "stream cut half way; error frame; no finish": (
        "P:test_what_only_a_user_would_notice[cut]",
        "P:test_what_only_a_user_would_notice[error-frame]",
        "P:test_what_only_a_user_would_notice[no-finish]",
        f"A:{BY_LAYER}[cut]",
        f"A:{BY_LAYER}[error-frame]",
        f"A:{BY_LAYER}[no-finish]",
    ),
    "gibberish; wrong answers; only with long prompts": (
        "P:test_what_only_a_user_would_notice[gibberish]",
        "P:test_what_only_a_user_would_notice[garbage]",
        "P:test_what_only_a_user_would_notice[long]",
        f"A:{BY_LAYER}[gibberish]",
        f"A:{BY_LAYER}[garbage]",
        "A:test_only_long_prompts_go_wrong",
    ),
    "wrong or missing model id": ("P:test_a_wrong_model_is_not_ready[wrong-model]", f"A:{BY_LAYER}[wrong-model]"),
    "TTFT x10": ("P:test_a_first_token_ten_times_as_slow_is_degraded", f"A:{BY_LAYER}[slow]"),
    "silent CPU fallback": (
        "P:test_a_silent_fall_back_to_the_cpu_is_degraded",
        "A:test_a_silent_fall_back_to_the_cpu_is_degraded",
    ),
    "still loading weights": (
        "P:test_weights_that_still_load_are_not_ready_and_not_dead",
        f"A:{BY_LAYER}[loading]",
    ),
    "queue full, 429": ("P:test_a_full_queue_is_saturated", f"A:{BY_LAYER}[refuse]"),
    "stale metrics, scrape hangs": (
        "P:test_metrics_that_cannot_be_trusted_are_unknown[stale]",
        "P:test_metrics_that_cannot_be_trusted_are_unknown[scrape-hang]",
        f"A:{NOT_TO_BLAME}[stale]",
        f"A:{NOT_TO_BLAME}[scrape-hang]",
    ),
    "probe key revoked": ("P:test_a_revoked_key_is_the_checks_and_not_the_targets", f"A:{NOT_TO_BLAME}[unauthorized]"),
    "one address of several dead behind a name": (
        "address:test_every_address_is_looked_at_with_the_names_host",
        "W:test_one_dead_address_of_two_behind_a_name_is_seen",
    ),
    "TLS expired or for another name; expiring soon": (
        "tls:test_the_targets_certificate_is_its_own_fault",
        "tls:test_expiring_soon_warns_and_does_not_fail",
        "W:test_a_certificate_that_is_wrong_is_the_targets_fault",
        "W:test_a_certificate_that_soon_expires_drains_nobody",
    ),
    "certificate, DNS or network broken at the agent": (
        "tls:test_a_host_that_trusts_nobody_blames_itself",
        "host:test_no_network_blames_this_host",
        "host:test_no_resolver_blames_this_host",
        "self:test_no_network_at_all_makes_an_agent_abstain_rather_than_blame",
        "W:test_an_authority_file_that_is_gone_is_the_agents_own_trouble",
    ),
}
"""Row -> its tests, as FILE:FUNCTION or FILE:FUNCTION[MODE]."""


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_its_tests(row: str) -> None:
    for name in ROWS[row]:
        key, _, rest = name.partition(":")
        function, _, mode = rest.rstrip("]").partition("[")
        tree = ast.parse((ROOT / FILES[key]).read_text())
        found = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
        ]
        assert found, f"{FILES[key]} has no {function}"
        words = {
            node.value for one in found[0].decorator_list for node in ast.walk(one) if isinstance(node, ast.Constant)
        }
        assert not mode or mode in words, f"{function} is not run with {mode}"
