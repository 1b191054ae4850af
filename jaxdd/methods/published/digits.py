"""Settings of the small `digits` that several families share; all of them are ours."""

from typing import Any

STEPS = 300
# Small experts that are trained within seconds.
EXPERTS: dict[str, Any] = {
    "num_experts": 10,
    "bank_epochs": 12,
    "expert_batch": 64,
}
