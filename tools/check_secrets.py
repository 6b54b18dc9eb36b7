"""Look for credentials in the tracked files: `python tools/check_secrets.py`.

detect-secrets does the looking, with the detectors of credentials that have a
form of their own (keys, tokens, URLs with a password). Its guesses by entropy and
by keyword are left out: hashes, and tests of our own redaction, would drown the
rest. A made-up credential that a test needs is assembled from parts, or its line
carries the comment `pragma: allowlist secret`.
"""

import subprocess
import sys
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).parents[1]
DETECTORS = (
    "ArtifactoryDetector",
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "BasicAuthDetector",
    "DiscordBotTokenDetector",
    "GitHubTokenDetector",
    "GitLabTokenDetector",
    "JwtTokenDetector",
    "MailchimpDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PrivateKeyDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "SquareOAuthDetector",
    "StripeDetector",
    "TelegramBotTokenDetector",
    "TwilioKeyDetector",
)
SETTINGS = {
    "plugins_used": [{"name": name} for name in DETECTORS],
    "filters_used": [
        {"path": "detect_secrets.filters.allowlist.is_line_allowlisted"},
        {"path": "detect_secrets.filters.common.is_invalid_file"},
    ],
}


def tracked() -> list[str]:
    """Return the files that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def main() -> int:
    """Scan, and name each finding by place and kind, never by value."""
    files = tracked()
    found = SecretsCollection(root=str(ROOT))
    with transient_settings(SETTINGS):
        for name in files:
            found.scan_file(name)
    for path, secret in found:
        print(f"{path}:{secret.line_number}: {secret.type}", file=sys.stderr)
    print(f"secrets: {len(files)} files, {len(list(found))} findings")
    return 1 if list(found) or not files else 0


if __name__ == "__main__":
    sys.exit(main())
