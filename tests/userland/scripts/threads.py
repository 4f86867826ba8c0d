# SPDX-License-Identifier: GPL-2.0-or-later
# Threads, processes, pipes, signals, files through the interpreter.
import hashlib
import mmap
import os
import queue
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time

jobs, answers = queue.Queue(), queue.Queue()


def worker():
    while (job := jobs.get()) is not None:
        answers.put((job, hashlib.sha256(str(job).encode() * 50).hexdigest()[:8]))


threads = [threading.Thread(target=worker) for _ in range(4)]
for thread in threads:
    thread.start()
for i in range(400):
    jobs.put(i)
for _ in threads:
    jobs.put(None)
for thread in threads:
    thread.join()
print(hashlib.md5(repr(sorted(answers.queue)).encode()).hexdigest())

lock, total = threading.Lock(), 0


def add():
    global total
    for _ in range(2000):
        with lock:
            total += 1


threads = [threading.Thread(target=add) for _ in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("total", total)

read, write = os.pipe()
children = []
for number in range(5):
    child = os.fork()
    if child == 0:
        os.write(write, b"%d" % (number * number))
        os._exit(number)
    children.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(children, os.read(read, 100))

left, right = socket.socketpair()
if os.fork() == 0:
    left.sendall(b"x" * 100000)
    os._exit(9)
received = 0
while received < 100000:
    select.select([right], [], [])
    received += len(right.recv(65536))
print("received", received, os.waitstatus_to_exitcode(os.wait()[1]))

seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
for _ in range(50):
    os.kill(os.getpid(), signal.SIGUSR1)
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.signal(signal.SIGALRM, lambda number, frame: seen.append(-1))
time.sleep(0.1)
print("signals", len(seen), seen[-1])

with tempfile.TemporaryFile() as file:
    file.write(bytes(range(256)) * 64)
    file.flush()
    with mmap.mmap(file.fileno(), 0) as mapped:
        mapped[100:103] = b"abc"
        print(mapped.find(b"abc"), hashlib.sha1(mapped).hexdigest())
print(subprocess.run("echo $((6*7)); exit 3", shell=True, stdout=subprocess.PIPE))
start = time.monotonic()
time.sleep(0.2)
print("slept", 0.2 <= time.monotonic() - start < 2)
