"""What holds for every test."""

from hypothesis import HealthCheck, settings

# How fast data is drawn depends on what else the machine does: it is no reason to
# fail, and each test has a timeout.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
