"""The security family: access, policy, content and audit."""
