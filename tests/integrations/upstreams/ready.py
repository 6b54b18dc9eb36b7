"""Runs `full.py` in processes that have imported the SDK already.

    python ready.py serve SOCKET          imports it, and forks a server for whoever asks
    python ready.py SOCKET TOKEN [WORDS]  becomes such a server, as far as others can see

The second is what a test starts: it hands its three streams to a fork of the first and
waits. It ends when that fork does, and that fork ends when it is killed.
"""

import os
import socket
import sys
import threading

READY = b"!"


def serve(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120 - the other side lacks pathlib
    import full

    listener.listen(128)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    while True:
        peer, _ = listener.accept()
        words, streams, _, _ = socket.recv_fds(peer, 65_536, 3)
        if len(streams) == 3 and os.fork() == 0:
            listener.close()
            pid, *others = words.decode().split("\0")
            full.state["pid"] = int(pid)  # of the process that others see
            work(peer, others, streams, full)
        for stream in streams:
            os.close(stream)
        peer.close()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def work(peer, words, streams, full):
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)

    def end_with_it():
        peer.recv(1)
        os._exit(9)

    threading.Thread(target=end_with_it, daemon=True).start()
    code = 1
    try:
        sys.argv = ["full.py", *words]
        full.run()
        sys.stdout.flush()
        code = 0
    finally:
        os._exit(code)


def ask(path, *words):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        socket.send_fds(peer, ["\0".join((str(os.getpid()), *words)).encode()], [0, 1, 2])
        # Else the streams would stay open when the server closes them.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        peer.recv(1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        ask(*sys.argv[1:])
