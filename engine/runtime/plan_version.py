"""The version of plans, of what `plan` writes and `create` reads: neither needs the other."""

PLAN_VERSION = 2  # changes whenever a key of the plan does, or what it means
