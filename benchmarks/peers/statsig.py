"""statsig-python-core: its engine (Rust, in process), with the specs from a data store of the app's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import PILOT, Row

TIME = 1_767_225_600_000
"""Of the specs: Unix time in milliseconds."""

_CONDITIONS: dict[str, tuple[str, str, str | None, Any]] = {
    "denied": ("user_field", "any", "account", ["acme-de"]),
    "staff": ("user_field", "any", "staff", ["true"]),
    "beta": ("user_field", "array_contains_any", "groups", ["beta"]),
    "enterprise": ("user_field", "any", "tier", ["enterprise"]),
    "city": ("user_field", "any", "city", ["Manchester"]),
    "country": ("user_field", "any", "country", ["GB"]),
    "everyone": ("public", "any", None, None),
}


def _condition(kind: str, operator: str, field: str | None, target: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "operator": operator,
        "field": field,
        "targetValue": target,
        "additionalValues": {},
        "idType": "userID",
        "isDeviceBased": False,
    }


def _rule(flag: str, conditions: list[str], share: int) -> dict[str, Any]:
    name = f"{flag}-{'-'.join(conditions)}"
    return {
        "name": name,
        "id": name,
        "salt": flag,
        "groupName": name,
        "conditions": conditions,
        "passPercentage": share,
        "returnValue": True,
        "idType": "userID",
        "isDeviceBased": False,
    }


def _gate(flag: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": flag,
        "type": "feature_gate",
        "entity": "feature_gate",
        "salt": flag,
        "enabled": True,
        "defaultValue": False,
        "idType": "userID",
        "isDeviceBased": False,
        "rules": rules,
    }


def _seed(flag: str) -> dict[str, Any]:
    """The first rule that matches decides; so those without a share stand first."""
    return _gate(
        flag,
        _rule(flag, ["denied"], 0),
        _rule(flag, ["staff"], 100),
        _rule(flag, ["beta"], 100),
        _rule(flag, ["enterprise"], 100),
        _rule(flag, ["city", "country"], 50),
        _rule(flag, ["everyone"], 10),
    )


class Statsig:
    """`statsig.check_gate(user, name)`."""

    name = "Statsig"
    distribution = "statsig-python-core"
    imports = "from statsig_python_core import Statsig, StatsigOptions, StatsigUser"
    context = "user_of(row)"
    ask = "client.check_gate(context, flag, unlogged)"
    all = ""
    note = "All of the plan, by its own rules; no events."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        conditions = {name: _condition(*condition) for name, condition in _CONDITIONS.items()}
        gates = {flag: _seed(flag) for flag in flags}
        if members:
            conditions["members"] = _condition("user_field", "any", "userID", members)
            gates[PILOT] = _gate(PILOT, _rule(PILOT, ["members"], 100))
        document = {
            "has_updates": True,
            "time": TIME,
            "company_id": "bench",
            "response_format": "dcs-v2",
            "feature_gates": gates,
            "dynamic_configs": {},
            "layer_configs": {},
            "condition_map": conditions,
            "experiment_to_layer": {},
        }
        (folder / "specs.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from statsig_python_core import (
            DataStore,
            DataStoreResponse,
            FeatureGateEvaluationOptions,
            Statsig,
            StatsigOptions,
            StatsigUser,
        )

        specs = (folder / "specs.json").read_text()

        class Store(DataStore):  # type: ignore[misc]  # without types
            def get(self, _key: str) -> Any:
                return DataStoreResponse(specs, TIME)

        client = Statsig(
            "secret-bench",
            StatsigOptions(
                data_store=Store(),
                disable_network=True,
                disable_all_logging=True,
                disable_country_lookup=True,
                disable_disk_access=True,
                enable_id_lists=False,
            ),
        )
        client.initialize().wait()

        def user_of(row: Row) -> Any:
            return StatsigUser(user_id=row["user"], country=row["country"], custom=row)

        unlogged = FeatureGateEvaluationOptions(disable_exposure_logging=True)
        return {"client": client, "user_of": user_of, "unlogged": unlogged}


peer: Peer = Statsig()
