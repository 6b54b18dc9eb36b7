"""The contract kits of health and supervision, over the defaults and the fakes."""

import pytest

from localmcp_harden.protocols.health import CheckReport, HealthReport, HealthStatus
from localmcp_harden.protocols.supervision import RestartConfig
from localmcp_harden.resilience.health import CachedHealthRegistry
from localmcp_harden.resilience.supervisor import SupervisorConfig, TaskSupervisor
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.contracts.health_registry import health_registry
from localmcp_harden.testing.contracts.kit import ContractViolation
from localmcp_harden.testing.contracts.supervisor import supervisor
from localmcp_harden.testing.doubles.health_registry import FakeHealthRegistry
from localmcp_harden.testing.doubles.supervisor import FakeSupervisor

pytestmark = pytest.mark.anyio


def make_tasks(*, strategy, restart, clock, sink):
    config = SupervisorConfig(strategy=strategy, restart=restart)
    return TaskSupervisor(config, clock=clock, random=FakeRandom(0.0), sink=sink)


@pytest.mark.parametrize("rule", health_registry.rules, ids=str)
@pytest.mark.parametrize("make", [CachedHealthRegistry, FakeHealthRegistry], ids=["cached", "fake"])
async def test_health_registry(make, rule):
    await rule.check(make)


@pytest.mark.parametrize("rule", supervisor.rules, ids=str)
@pytest.mark.parametrize("make", [make_tasks, FakeSupervisor], ids=["tasks", "fake"])
async def test_supervisor(make, rule):
    await rule.check(make)


class Nothing:
    """Says that all is well and that nothing runs, whatever it is told."""

    def __init__(self, **_ports):
        self.services = []

    def register_health_check(self, name, check, config=None, /):
        pass

    async def get_health_status(self, kind=None, *, tags=frozenset()):
        return HealthStatus.HEALTHY

    async def get_detailed_health(self, kind=None, *, tags=frozenset()):
        app = CheckReport(name="app", status=HealthStatus.HEALTHY, own_status=HealthStatus.HEALTHY)
        return HealthReport(status=HealthStatus.HEALTHY, kind=kind, at=0.0, checks=(app,))

    def enable_self_healing(self, name, action, config=None, /, *, breaker=None, on_escalate=None):
        pass

    def disable_self_healing(self, name, /):
        return False

    def add_service(self, service, /):
        pass

    async def run(self):
        pass

    async def stop_service(self, name, /):
        return False

    async def start_service(self, name, /):
        pass

    async def restart_service(self, name, /):
        pass

    def get_services(self):
        return ()


# HR4 needs a registry that can hang, HR6 too: nothing that answers at once breaks them.
@pytest.mark.parametrize(
    "rule",
    [rule for rule in (*health_registry.rules, *supervisor.rules) if rule.id != "HR4"],
    ids=str,
)
async def test_every_rule_can_be_broken(rule):
    with pytest.raises(ContractViolation):
        await rule.check(Nothing)


def test_the_default_restarts_are_within_their_own_range():
    assert RestartConfig().max_wait_s >= RestartConfig().initial_wait_s
