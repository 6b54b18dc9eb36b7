"""What the audit tests share: a folder, and logs on it."""

import pytest

from localmcp_harden.protocols.security import AuditEntry
from localmcp_harden.security.audit.log import AuditConfig, SqliteAuditLog


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
def make_log(folder):
    def make(*, sink=None, **config):
        options = {} if sink is None else {"sink": sink}
        defaults = {"folder": folder, "retry_wait_s": 0.001}
        return SqliteAuditLog(AuditConfig(**{**defaults, **config}), **options)

    return make


@pytest.fixture
def entry():
    def make(number=0, **data):
        return AuditEntry(kind="outcome", call_id=str(number), data={"number": number, **data})

    return make
