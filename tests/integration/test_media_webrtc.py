"""Real aiortc viewers against ``Peers`` on loopback: pictures, sharing, joining, vanishing, bad offers, no network."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from actors.media.fanout import Fanout
from actors.media.webrtc import IceServer, Peers, pace
from domain.errors import GetiActionError, Invalid, Malformed, NotAcceptable, NotFound, TooLarge, Unavailable
from tests.integration.test_media_kit import MovingPictures, Viewer, until


@pytest.fixture(scope="module")
def camera() -> Iterator[MovingPictures]:
    with MovingPictures() as camera:
        yield camera


@pytest.fixture
async def fanout(camera: MovingPictures) -> AsyncIterator[Fanout]:
    fanout = Fanout(camera.ring, camera.profile, linger_s=0.2)
    yield fanout
    await fanout.close()


@pytest.fixture
async def peers(fanout: Fanout) -> AsyncIterator[Peers]:
    peers = Peers(fanout)
    yield peers
    await peers.close_all()


def encoder_threads() -> int:
    return sum(thread.name == "live-encoder" for thread in threading.enumerate())


def udp_sockets() -> int:
    return len(psutil.Process().net_connections("udp"))


async def test_viewer_sees_the_first_picture(peers: Peers) -> None:
    viewer = Viewer()
    session_id = await viewer.join(peers)
    await asyncio.wait_for(viewer.first.wait(), 5)
    assert viewer.size == (640, 480)
    assert len(session_id) >= 32
    await peers.close(session_id)
    with pytest.raises(NotFound):
        await peers.close(session_id)
    await viewer.close()


async def rates(peers: Peers, viewers: list[Viewer], seconds: float) -> tuple[float, float]:
    """The slowest viewer's pictures a second, and encodes a second, over ``seconds``."""
    before, encoded, began = [viewer.frames for viewer in viewers], peers.stats().encoded, time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    seen = min(viewer.frames - count for viewer, count in zip(viewers, before, strict=True))
    return seen / took, (peers.stats().encoded - encoded) / took


@pytest.mark.slow
@pytest.mark.alone
async def test_three_viewers_get_full_rate_from_one_encode(peers: Peers) -> None:
    viewers = [Viewer() for _ in range(3)]
    for viewer in viewers:
        await viewer.join(peers)
    await asyncio.gather(*(asyncio.wait_for(viewer.first.wait(), 5) for viewer in viewers))
    shown = 0.0
    for _ in range(6):  # a busy machine is given more windows, never a lower bar
        shown, encodes = await rates(peers, viewers, 3)
        print("pictures a second:", round(shown, 1), "encodes a second:", round(encodes, 1))
        assert encodes <= 45  # one encode a viewer would be 90
        assert encoder_threads() == 1
        if shown >= 28:
            break
    assert shown >= 28
    assert peers.stats().connected == 3
    await asyncio.gather(*(viewer.close() for viewer in viewers))


@pytest.mark.alone
async def test_late_viewer_starts_at_once_on_a_keyframe(peers: Peers) -> None:
    early, late = Viewer(), Viewer()
    await early.join(peers)
    await asyncio.wait_for(early.first.wait(), 5)
    await late.join(peers)
    waited = await until(late.first.is_set, 5)
    print("late viewer's first picture after", round(waited, 2), "s")
    assert waited < 1.0
    await asyncio.gather(early.close(), late.close())


async def test_viewer_that_says_goodbye_is_gone_and_the_encoder_rests(peers: Peers) -> None:
    viewer = Viewer()
    await viewer.join(peers)
    await asyncio.wait_for(viewer.first.wait(), 5)
    await viewer.close()
    await until(lambda: peers.stats().viewers == 0, 2)
    await until(lambda: encoder_threads() == 0, 2)
    assert not peers.stats().encoding


async def test_ended_camera_ends_its_viewers(fanout: Fanout, peers: Peers) -> None:
    viewer = Viewer()
    await viewer.join(peers)
    await asyncio.wait_for(viewer.first.wait(), 5)
    await fanout.close()
    await until(lambda: peers.stats().viewers == 0, 2)
    await viewer.close()


async def test_one_viewer_too_many_is_refused(fanout: Fanout) -> None:
    peers = Peers(fanout, max_viewers=1)
    first, second = Viewer(), Viewer()
    await first.join(peers)
    with pytest.raises(Unavailable, match="1 viewers") as refusal:
        await second.join(peers)
    assert refusal.value.error_code == "too_many_viewers"
    await peers.close_all()
    await asyncio.gather(first.close(), second.close())


VIEWER_THAT_DIES = """
import asyncio, json, sys
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
async def main():
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver("video", direction="recvonly")
    tracks = asyncio.Queue()
    pc.on("track", tracks.put_nowait)
    await pc.setLocalDescription(await pc.createOffer())
    print(json.dumps(pc.localDescription.sdp), flush=True)
    answer = await asyncio.to_thread(sys.stdin.readline)
    await pc.setRemoteDescription(RTCSessionDescription(json.loads(answer), "answer"))
    track = await tracks.get()
    await track.recv()
    print("picture", flush=True)
    while True:
        await track.recv()
asyncio.run(main())
"""


@pytest.mark.slow
async def test_killed_viewer_is_gone_within_ten_seconds(peers: Peers) -> None:
    viewer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VIEWER_THAT_DIES, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        _, answer = await peers.answer(json.loads(await viewer.stdout.readline()))
        viewer.stdin.write(json.dumps(answer).encode() + b"\n")
        assert await asyncio.wait_for(viewer.stdout.readline(), 10) == b"picture\n"
    finally:
        viewer.kill()
        await viewer.wait()
    assert peers.stats().connected == 1
    waited = await until(lambda: peers.stats().viewers == 0, 10)
    print("a killed viewer was gone after", round(waited, 1), "s")
    assert encoder_threads() <= 1


@pytest.mark.slow
async def test_viewer_that_never_connects_is_gone_within_ten_seconds(peers: Peers) -> None:
    viewer = Viewer()
    await peers.answer(await viewer.offer())
    await viewer.close()
    assert peers.stats().viewers == 1
    await until(lambda: peers.stats().viewers == 0, 10)
    assert not peers.stats().encoding


def video_offer(**changes: str) -> str:
    """A minimal good offer, with lines changed or (by an empty string) taken out."""
    lines = {
        "media": "m=video 9 UDP/TLS/RTP/SAVPF 97",
        "address": "c=IN IP4 0.0.0.0",
        "direction": "a=recvonly",
        "mid": "a=mid:0",
        "mux": "a=rtcp-mux",
        "codec": "a=rtpmap:97 H264/90000",
        "format": "a=fmtp:97 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "user": "a=ice-ufrag:abcd",
        "password": "a=ice-pwd:0123456789abcdef012345",
        "fingerprint": "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "setup": "a=setup:actpass",
    }
    head = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0"]
    return "\r\n".join(head + [line for line in (lines | changes).values() if line]) + "\r\n"


AUDIO = {"media": "m=audio 9 UDP/TLS/RTP/SAVPF 97", "codec": "a=rtpmap:97 opus/48000/2", "format": ""}
BAD_OFFERS = {
    "empty": ("", Malformed),
    "garbage": ("Hello, this is no SDP at all.", Malformed),
    "binary": (bytes(range(256)).decode("latin-1") * 16, Malformed),
    "one MiB": (video_offer() + "a=x-padding:" + "x" * 2**20, TooLarge),
    "audio only": (video_offer(**AUDIO), NotAcceptable),
    "data channel": (video_offer(media="m=application 9 UDP/DTLS/SCTP webrtc-datachannel"), NotAcceptable),
    "many videos": (video_offer() + video_offer().partition("a=group:BUNDLE 0\r\n")[2] * 100, NotAcceptable),
    "VP8 only": (video_offer(codec="a=rtpmap:97 VP8/90000", format=""), NotAcceptable),
    "H.264 we do not make": (video_offer(format="a=fmtp:97 packetization-mode=0"), NotAcceptable),
    "wants to send": (video_offer(direction="a=sendonly"), NotAcceptable),
    "no credentials": (video_offer(password=""), Malformed),
    "no fingerprint": (video_offer(fingerprint=""), Malformed),
    "no setup": (video_offer(setup=""), Malformed),
    "no multiplexing": (video_offer(mux=""), Malformed),
    "broken media line": (video_offer(media="m=video nine"), Malformed),
    "broken codec": (video_offer(codec="a=rtpmap:97"), Malformed),
    "format of no codec": (video_offer(format="a=fmtp:98 x=1"), Malformed),
    "broken candidate": (video_offer(setup="a=setup:actpass\r\na=candidate:1 1 udp"), Malformed),
}


@pytest.mark.parametrize("name", BAD_OFFERS)
async def test_bad_offer_gets_its_error_and_leaves_nothing(peers: Peers, name: str) -> None:
    offer, error = BAD_OFFERS[name]
    before = udp_sockets(), len(asyncio.all_tasks()), encoder_threads()
    with pytest.raises(GetiActionError) as refusal:
        await peers.answer(offer)
    assert type(refusal.value) is error, refusal.value
    await asyncio.sleep(0)
    assert (udp_sockets(), len(asyncio.all_tasks()), encoder_threads()) == before
    assert peers.stats().viewers == 0


async def test_vp8_only_says_what_is_served(peers: Peers) -> None:
    with pytest.raises(NotAcceptable, match=r"H\.264"):
        await peers.answer(BAD_OFFERS["VP8 only"][0])


async def test_unconnected_sessions_leave_no_sockets_and_no_tasks(peers: Peers) -> None:
    before = udp_sockets(), len(asyncio.all_tasks())
    for _ in range(3):
        session_id, _ = await peers.answer(video_offer())
        await peers.close(session_id)
    await asyncio.sleep(0.1)
    assert (udp_sockets(), len(asyncio.all_tasks())) == before


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.1])
async def test_session_closed_while_it_connects_leaves_nothing(peers: Peers, delay_s: float) -> None:
    before = udp_sockets(), len(asyncio.all_tasks())
    viewer = Viewer()
    session_id = await viewer.join(peers)
    await asyncio.sleep(delay_s)
    await peers.close(session_id)
    await viewer.close()
    await asyncio.sleep(0.1)
    assert (udp_sockets(), len(asyncio.all_tasks())) == before


async def test_cancelled_answer_leaves_nothing(peers: Peers) -> None:
    before = udp_sockets()
    asking = asyncio.create_task(peers.answer(video_offer()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0.05)
    assert (peers.stats().viewers, udp_sockets()) == (0, before)


async def test_burst_of_packets_is_paced() -> None:
    class Line:
        def __init__(self) -> None:
            self.sent_at: list[float] = []

        async def _send_rtp(self, data: bytes) -> None:
            self.sent_at.append(time.perf_counter())

    line = Line()
    pace(line)
    for _ in range(60):
        await line._send_rtp(b"packet")
    rests = [after - before for before, after in itertools.pairwise(line.sent_at)]
    assert [index for index, rest in enumerate(rests, start=1) if rest >= 0.0015] == [20, 40]


async def test_names_only_mdns_knows_cost_no_time(peers: Peers) -> None:
    hidden = "a=candidate:1 1 udp 2122260223 2c1b7b6c-0c4f-4c52-9dd4-3a9e0b7f1c11.local 50000 typ host"
    began = time.perf_counter()
    session_id, answer = await peers.answer(video_offer(setup=f"a=setup:actpass\r\n{hidden}\r\na=end-of-candidates"))
    assert time.perf_counter() - began < 1.0
    assert re.search(r"^a=candidate:.* 127\.0\.0\.1 ", answer, re.MULTILINE)
    assert "H264/90000" in answer
    assert "VP8" not in answer
    await peers.close(session_id)


async def test_unreachable_stun_server_delays_the_answer_by_two_seconds_at_most(fanout: Fanout) -> None:
    peers = Peers(fanout, [IceServer(urls=["stun:127.0.0.1:9"])])
    began = time.perf_counter()
    session_id, answer = await peers.answer(video_offer())
    assert time.perf_counter() - began < 3.0
    assert "127.0.0.1" in answer
    await peers.close(session_id)


def test_unreadable_ice_server_is_refused_at_the_start(camera: MovingPictures) -> None:
    with pytest.raises(Invalid, match="ICE_SERVERS: nonsense"):
        Peers(Fanout(camera.ring, camera.profile), [IceServer(urls=["nonsense"])])


LOOPBACK_ONLY = """
import fcntl, os, socket, struct, sys
UP, SIOCSIFFLAGS = 1, 0x8914
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", UP))
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
plugins = ["-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
os.execv(sys.executable, [sys.executable, "-m", "pytest", "-q", *plugins, *sys.argv[1:]])
"""


def namespace_command() -> list[str] | None:
    """How to run something without any network but loopback, or None where the machine does not permit it."""
    command = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None


@pytest.mark.slow
def test_machine_without_network_shows_video() -> None:
    command = namespace_command()
    if command is None:
        pytest.skip("network namespaces are not permitted here (unshare --net failed)")
    test = f"{__file__}::test_viewer_sees_the_first_picture"
    done = subprocess.run(
        [*command, sys.executable, "-c", LOOPBACK_ONLY, test], capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
