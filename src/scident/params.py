"""The base of every plug-in's parameters."""

from pydantic import BaseModel, ConfigDict


class PluginParams(BaseModel):
    """Parameters of one plug-in: defaults, units and prose live in its fields; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
