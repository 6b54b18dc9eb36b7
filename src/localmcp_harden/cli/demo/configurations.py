"""The configurations of the demo's servers, as an operator would write them."""

import json
from pathlib import Path
from string import Template

__all__ = ("FILES_CONFIGURATION", "GIT_CONFIGURATION", "NOTES_CONFIGURATION", "quoted")


def quoted(path: Path) -> str:
    """Return a path as a TOML string; JSON's escapes are a part of TOML's."""
    return json.dumps(str(path), ensure_ascii=False)


GIT_CONFIGURATION: Template = Template(
    """\
# Guards for mcp-server-git, a server that we did not write and do not change.
version = 1
project = "demo"

[audit]
folder = $audit
before_acting = "always"

[logging]
file = $records
linger_s = 0.0

[bounds]
max_bytes = 65536

[rate_limit.tools.git_branch]
rate_per_s = 0.5
burst = 4

# Which argument of which tool is a path; rules are about where it leads.
[tools]
git_status = { paths = ["repo_path"], read_only = true }
git_log = { paths = ["repo_path"], read_only = true }
git_show = { paths = ["repo_path"], read_only = true }
git_diff = { paths = ["repo_path"], read_only = true }
git_diff_staged = { paths = ["repo_path"], read_only = true }
git_diff_unstaged = { paths = ["repo_path"], read_only = true }
git_branch = { paths = ["repo_path"], read_only = true }

[[policy.rules]]
id = "read-the-workspace"
effect = "allow"
actions = ["tools/call"]
tools = [
  "git_branch", "git_diff", "git_diff_staged", "git_diff_unstaged", "git_log", "git_show",
  "git_status",
]
roles = ["local"]
resources = [$workspace]

[[policy.rules]]
id = "agents-do-not-write"
effect = "deny"
actions = ["tools/call"]
tools = ["git_add", "git_commit", "git_reset", "git_checkout", "git_create_branch"]
roles = ["local"]
reason = "this server is for reading; ask a person to change the repository"
"""
)
"""For the git server behind `wrap`."""

FILES_CONFIGURATION: Template = Template(
    """\
# Guards for @modelcontextprotocol/server-filesystem. The server itself may open all of
# the scratch folder; what an editor may do with it is less, and is said here.
version = 1
project = "demo"

[authentication]
local_client = "editor"

[audit]
folder = $audit
before_acting = "writes"

[logging]
file = $records
linger_s = 0.0

[tools]
read_text_file = { paths = ["path"], read_only = true }
write_file = { paths = ["path"] }
move_file = { paths = ["source", "destination"] }

[[policy.rules]]
id = "read-and-write-the-project"
effect = "allow"
actions = ["tools/call"]
tools = ["read_text_file", "write_file"]
roles = ["local"]
resources = [$project]

[[policy.rules]]
id = "git-keeps-its-own-files"
effect = "deny"
actions = ["tools/call"]
resources = [$dotgit]
"""
)
"""For the file server behind `wrap`."""

NOTES_CONFIGURATION: Template = Template(
    """\
# Guards for a server of our own: two callers with tokens, four tools for both of
# them, one for the writer alone.
version = 1
project = "demo"

[[authentication.tokens]]
sha256 = "$reader"
client = "reader"
roles = ["reader"]

[[authentication.tokens]]
sha256 = "$writer"
client = "writer"
roles = ["writer"]

[roles.reader]

[roles.writer]
includes = ["reader"]

[audit]
folder = $audit
before_acting = "writes"

[logging]
file = $records
linger_s = 0.0

[[policy.rules]]
id = "readers-read"
effect = "allow"
actions = ["tools/call"]
tools = ["find_notes", "sync_archive", "export_notes", "print_notes"]
roles = ["reader"]

[[policy.rules]]
id = "writers-write"
effect = "allow"
actions = ["tools/call"]
tools = ["add_note"]
roles = ["writer"]

# Short times, so that the demo is soon over.
# One printer: one prints, one waits, more are too many.
[tools.print_notes.bulkhead]
max_concurrent = 1
max_queue = 1

[tools.export_notes]
deadline_s = 0.5

[retry]
attempts = 3
base_s = 0.05

[breaker]
window_calls = 6
minimum_calls = 6
failure_rate = 0.5
open_s = 2.5
"""
)
"""For the server of our own."""
