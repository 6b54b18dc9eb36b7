"""Read by type checkers, never run: health, supervision, draining and their fakes fit."""

from localmcp_harden.protocols.draining import Drain, DrainableHealth
from localmcp_harden.protocols.health import HealthPublisher, HealthRegistry, HealthWatch
from localmcp_harden.protocols.supervision import Supervisor
from localmcp_harden.resilience.drain import CallDrain
from localmcp_harden.resilience.health import CachedHealthRegistry
from localmcp_harden.resilience.health_publisher import QueueHealthPublisher, WatchedHealth
from localmcp_harden.resilience.supervisor import TaskSupervisor
from localmcp_harden.testing.doubles.health_registry import FakeHealthRegistry
from localmcp_harden.testing.doubles.supervisor import FakeSupervisor

a: HealthRegistry = CachedHealthRegistry()
b: HealthRegistry = FakeHealthRegistry()
c: HealthWatch = CachedHealthRegistry()
d: DrainableHealth = CachedHealthRegistry()
e: WatchedHealth = CachedHealthRegistry()
f: HealthPublisher = QueueHealthPublisher(CachedHealthRegistry())
g: Supervisor = TaskSupervisor()
h: Supervisor = FakeSupervisor()
i: Drain = CallDrain(health=CachedHealthRegistry())
j: WatchedHealth = FakeHealthRegistry()
k: DrainableHealth = FakeHealthRegistry()
