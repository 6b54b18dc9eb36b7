"""Memory readings from files of the system, and from none."""

from localmcp_harden.mechanisms.process_memory import memory_limit_bytes, memory_used_bytes


def test_resident_pages_are_read(tmp_path):
    statm = tmp_path / "statm"
    statm.write_text("100 7 3 0 0 0 0\n")
    small = memory_used_bytes(statm)
    statm.write_text("100 14 3 0 0 0 0\n")
    assert memory_used_bytes(statm) == 2 * small > 0


def test_the_smaller_limit_counts(tmp_path):
    group, meminfo = tmp_path / "max", tmp_path / "meminfo"
    meminfo.write_text("MemFree: 1 kB\nMemTotal: 2048 kB\n")
    assert memory_limit_bytes((group,), meminfo) == 2048 * 1024
    group.write_text("max\n")
    assert memory_limit_bytes((group,), meminfo) == 2048 * 1024
    group.write_text("1000\n")
    assert memory_limit_bytes((group,), meminfo) == 1000
    group.write_text(f"{1 << 62}\n")
    assert memory_limit_bytes((group,), tmp_path / "none") is None


def test_what_can_not_be_read_is_none(tmp_path):
    statm = tmp_path / "statm"
    assert memory_used_bytes(statm) is None
    statm.write_text("nonsense\n")
    assert memory_used_bytes(statm) is None
    statm.write_text("MemTotal: much\n")
    assert memory_limit_bytes((), statm) is None
