# Frames both ways: four bytes with a length, then as many bytes. Length 0 is the end of one side, 0xffffffff that of all.
import os, socket, struct, sys, threading


def fail(code, error):
    os.write(2, (str(getattr(error, "strerror", None) or error) + "\n").encode())
    os._exit(code)


def put(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def get(n):
    parts = []
    while n:
        part = os.read(0, min(n, 65536))
        if not part:
            os._exit(0)
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


told = ended = False  # the end of their side for the server; of the server's


def back():
    global ended
    try:
        while not ended:
            data = s.recv(65536)
            put(struct.pack("!I", len(data)) + data)
            ended = not data
    except OSError as e:
        fail(70, e)
    if told:
        os._exit(0)


try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
except OSError as e:
    fail(69, e)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
put(b"python3 framed\n")
reader = threading.Thread(target=back, daemon=True)
reader.start()
while True:
    (n,) = struct.unpack("!I", get(4))
    try:
        if n == 0xFFFFFFFF:
            os._exit(0)
        elif n:
            s.sendall(get(n))
        else:
            s.shutdown(socket.SHUT_WR)
            told = True
            if ended:
                os._exit(0)
    except OSError as e:  # it may still have something to say
        reader.join()
        fail(70, e)
