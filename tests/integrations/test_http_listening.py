import socket

import pytest

from localmcp_harden.integrations.http_server import _listen

pytestmark = pytest.mark.anyio


async def test_answers_in_two_segments_do_not_wait_for_acknowledgements():
    with (
        await _listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
