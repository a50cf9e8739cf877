"""How a setting is defined, and how its bounds are read from the definition."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Settings(BaseModel):
    """Settings that belong together; immutable, without any others."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)


def setting(default: Any, help: str, *, group: str, unit: str = "", **bounds: Any) -> Any:
    """One setting: its default, its help, the group it is shown in, its unit and pydantic's bounds.

    default: a value, or a function of the settings before it.
    """
    default_value = {"default_factory": default} if callable(default) else {"default": default}
    return Field(**default_value, description=help, json_schema_extra={"group": group, "unit": unit}, **bounds)


def bounds(info: FieldInfo) -> dict[str, float]:
    """The bounds that pydantic checks: some of ge, gt, le, lt."""
    return {
        name: getattr(limit, name)
        for limit in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(limit, name, None) is not None
    }


def describe_bounds(info: FieldInfo) -> str:
    """ "at least 1 and at most 512" from the bounds that are checked, so that the two cannot differ."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return " and ".join(
        f"{words[name]} {limit:g}" if abs(limit) < 1e6 else f"{words[name]} {limit:.0f}"
        for name, limit in bounds(info).items()
    )
