"""
The web process, on a socket that its supervisor holds: `python -m deploy.run.web FD`.

The port is taken from the moment it was chosen, so two platforms started at once never share one, and who asks while
web is started again waits instead of being refused.
"""

import os
import socket
import sys
from typing import Any

import uvicorn


def proxy() -> dict[str, Any]:
    """Return whose X-Forwarded-For names the visitor: by default nobody's, or guesses could come from new addresses."""
    if os.environ.get("TRUST_PROXY", "").lower() not in {"1", "true", "yes", "on", "y", "ok"}:
        return {"proxy_headers": False}
    return {"proxy_headers": True, "forwarded_allow_ips": os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1"}


def main() -> None:
    """Serve until told to stop."""
    config = uvicorn.Config(
        "deploy.asgi:application",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,  # event streams stay open for ever: do not wait for them when asked to stop
        **proxy(),
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
