"""WebRTC egress: the peers that watch one camera. The only importer of aiortc and aioice; what they lack is added here:

packets instead of frames (one encode for all), keyframe requests that reach the encoder, loopback candidates,
offers without mDNS names, deadlines, and a viewer that vanished noticed within 10 s.
"""

import asyncio
import itertools
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, Protocol, TypedDict

import aioice.ice
from aiortc import (
    InvalidStateError,
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceGatherer,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import MediaDescription, SessionDescription
from av.packet import Packet

from actors.media.fanout import Fanout, Subscription
from domain.errors import GetiActionError, Invalid, Malformed, NotAcceptable, NotFound, TooLarge, Unavailable

MAX_VIEWERS = 16
MAX_OFFER_BYTES = 64 * 1024
CONNECT_S = 8.0
"""An answered offer that is not connected after this long is dropped."""
GATHER_S = 2
LOOPBACK = "127.0.0.1"
BURST_PACKETS, PAUSE_S = 20, 0.002
"""A keyframe is a hundred packets, which overrun the viewer's socket when sent at once."""
CODECS = ("video/H264", "video/rtx")
UNRESOLVABLE = re.compile(r"a=(candidate:(\S+ ){4}\S+\.local\.? |end-of-candidates)", re.IGNORECASE)
"""Names only mDNS knows (each costs 2 s), and the claim that no more candidates come: its checks bring them."""

# A viewer that stops answering is gone after 5 checks of at most 1.7 s; aioice's own values take 45 s. They are globals
# of aioice, and this module is its only importer in the process.
aioice.ice.CONSENT_INTERVAL = 1
aioice.ice.CONSENT_FAILURES = 5

logger = logging.getLogger(__name__)


class IceServer(TypedDict):
    """As a browser's RTCIceServer: a STUN server, or a TURN server with credentials."""

    urls: list[str]
    username: NotRequired[str]
    credential: NotRequired[str]


@dataclass(frozen=True, slots=True)
class PeerStats:
    """Live numbers of one camera's viewers; counts are since the beginning."""

    viewers: int
    connected: int
    encoding: bool
    encoded: int
    dropped: int
    keyframe_requests: int


class Peers:
    """The viewers of one camera. Used on one asyncio loop, which also sends the packets."""

    def __init__(self, fanout: Fanout, ice_servers: Sequence[IceServer] = (), max_viewers: int = MAX_VIEWERS) -> None:
        """Raises Invalid for an ICE server that cannot be parsed."""
        self._fanout = fanout
        self._configuration = _configuration(ice_servers)
        self._max_viewers = max_viewers
        self._peers: dict[str, RTCPeerConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keyframe_requests = 0

    async def answer(self, offer_sdp: str) -> tuple[str, str]:
        """Take a viewer: its new session id (unguessable) and the SDP answer with every candidate gathered.

        Raises Malformed, TooLarge, NotAcceptable (nothing in the offer we can send) or Unavailable (too many viewers).
        """
        offer = _checked(offer_sdp)
        if len(self._peers) >= self._max_viewers:
            raise Unavailable(
                f"This camera has {self._max_viewers} viewers, the most it serves. Close one and try again.",
                code="too_many_viewers",
            )
        session_id = secrets.token_urlsafe(24)
        peer = self._peers[session_id] = RTCPeerConnection(self._configuration)
        try:
            answer = await self._negotiate(peer, offer)
        except BaseException:  # also when the caller is cancelled: a half-made peer holds sockets
            await self._drop(session_id)
            raise
        self._watch(session_id, peer)
        return session_id, answer

    async def close(self, session_id: str) -> None:
        """End a viewer's session. Raises NotFound if it is not (or no longer) here."""
        if session_id not in self._peers:
            raise NotFound("This viewer's session is not here: it has ended already.", code="whep_session_not_found")
        await self._drop(session_id)

    async def close_all(self) -> None:
        """End every session and wait for those that are ending."""
        await asyncio.gather(*(self._drop(session_id) for session_id in tuple(self._peers)), *self._tasks)

    def stats(self) -> PeerStats:
        return PeerStats(
            viewers=len(self._peers),
            connected=sum(peer.connectionState == "connected" for peer in self._peers.values()),
            encoding=self._fanout.encoding,
            encoded=self._fanout.encoded,
            dropped=self._fanout.dropped,
            keyframe_requests=self._keyframe_requests,
        )

    def has(self, session_id: str) -> bool:
        return session_id in self._peers

    async def _negotiate(self, peer: RTCPeerConnection, offer: str) -> str:
        transceiver = peer.addTransceiver(_PacketTrack(self._fanout), direction="sendonly")
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([codec for codec in capabilities if codec.mimeType in CODECS])
        # aiortc tells only encoders of its own about PLI and FIR; ours sits behind the fan-out.
        transceiver.sender._send_keyframe = self._request_keyframe  # type: ignore[method-assign]
        try:
            await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            mend_ice(peer)
            pace(transceiver.sender.transport)
            await peer.setLocalDescription(await peer.createAnswer())
        except (OperationError, InvalidStateError, ValueError, AssertionError) as error:
            raise _translated(error) from error
        return peer.localDescription.sdp

    def _request_keyframe(self) -> None:
        self._keyframe_requests += 1
        self._fanout.request_keyframe()

    def _watch(self, session_id: str, peer: RTCPeerConnection) -> None:
        def check() -> None:
            if peer.connectionState in ("failed", "closed"):
                self._drop_soon(session_id)

        def expire() -> None:
            if peer.connectionState != "connected":
                self._drop_soon(session_id)

        peer.on("connectionstatechange", check)
        peer.getSenders()[0].track.on("ended", lambda: self._drop_soon(session_id))
        asyncio.get_running_loop().call_later(CONNECT_S, expire)
        check()

    def _drop_soon(self, session_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._drop(session_id))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A viewer's connection did not close cleanly", exc_info=error)

    async def _drop(self, session_id: str) -> None:
        peer = self._peers.pop(session_id, None)
        if peer is None:
            return
        tracks = [sender.track for sender in peer.getSenders() if sender.track is not None]
        await peer.close()
        for track in tracks:  # aiortc stops only tracks that were being sent
            track.stop()


class _PacketTrack(MediaStreamTrack):
    """Hands packets to aiortc, which sends them as they are. It joins the fan-out at the first ``recv``, that is once
    the connection stands: an offer that comes to nothing starts no encoder."""

    kind = "video"

    def __init__(self, fanout: Fanout) -> None:
        super().__init__()
        self._fanout = fanout
        self._subscription: Subscription | None = None

    async def recv(self) -> Packet:
        if self._subscription is None:
            self._subscription = self._fanout.subscribe()
        try:
            return await self._subscription.get()
        except Unavailable as error:
            raise MediaStreamError(error.detail) from error

    def stop(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
        super().stop()


class _RtpTransport(Protocol):
    async def _send_rtp(self, data: bytes) -> None: ...


def pace(transport: _RtpTransport) -> None:
    """Rest after every burst of packets, so that the network takes them and other viewers get their turn."""
    send, sent = transport._send_rtp, itertools.count(1)

    async def send_paced(data: bytes) -> None:
        await send(data)
        if next(sent) % BURST_PACKETS == 0:
            await asyncio.sleep(PAUSE_S)

    transport._send_rtp = send_paced  # type: ignore[method-assign]


def mend_ice(peer: RTCPeerConnection) -> None:
    """Mend what aioice does wrong, on this peer only. Call it between the remote and the local description."""
    for transceiver in peer.getTransceivers():
        connection = transceiver.sender.transport.transport._connection
        _gather_loopback(connection)
        _end_consent_checks(connection)


def _gather_loopback(connection: aioice.ice.Connection) -> None:
    """Offer 127.0.0.1 too, so that a machine without any network shows its own pictures to itself (aioice skips it).

    It is gathered last and alone, because no STUN or TURN server can be reached from it.
    """
    gather = type(connection).get_component_candidates

    async def gather_all(component: int, addresses: list[str]) -> list[aioice.Candidate]:
        candidates: list[aioice.Candidate] = await gather(connection, component, addresses, timeout=GATHER_S)
        connection.stun_server = connection.turn_server = None
        return candidates + list(await gather(connection, component, [LOOPBACK]))

    connection.get_component_candidates = gather_all


def _end_consent_checks(connection: aioice.ice.Connection) -> None:
    """A connection closed while it was being made would begin its consent checks after that, and never end them."""
    query = type(connection).query_consent

    async def query_unless_closed() -> None:
        if not connection._closing:
            await query(connection)

    connection.query_consent = query_unless_closed


def _configuration(servers: Sequence[IceServer]) -> RTCConfiguration:
    # An empty list, not none: without one aiortc asks a public STUN server.
    ice_servers = [RTCIceServer(**server) for server in servers]
    try:
        RTCIceGatherer(ice_servers)
    except ValueError as error:
        urls = ", ".join(url for server in servers for url in server["urls"])
        raise Invalid(f"ICE_SERVERS: {urls}: {error}. Write stun:host:port or turn:host:port.") from error
    return RTCConfiguration(iceServers=ice_servers)


def _checked(offer: str) -> str:
    """The offer without the candidates that cannot be resolved, once it is sure that we can answer it."""
    if len(offer) > MAX_OFFER_BYTES:
        raise TooLarge(f"An offer has at most {MAX_OFFER_BYTES // 1024} KiB.", code="offer_too_large")
    cleaned = "".join(f"{line}\r\n" for line in offer.splitlines() if not UNRESOLVABLE.match(line))
    _check_video(_parsed(cleaned).media)
    return cleaned


def _parsed(offer: str) -> SessionDescription:
    try:
        description = SessionDescription.parse(offer)
    except (ValueError, AssertionError, AttributeError, LookupError, TypeError, StopIteration) as error:
        raise _malformed(str(error) or "a line in it is broken") from error
    if not description.media:
        raise _malformed("it describes no media")
    return description


def _check_video(media: list[MediaDescription]) -> None:
    kinds = sorted(section.kind for section in media)
    if kinds not in (["video"], ["audio", "video"]):
        raise NotAcceptable(f"A camera sends one video stream; the offer has: {', '.join(kinds)}.", code="no_video")
    video = next(section for section in media if section.kind == "video")
    if video.direction not in ("recvonly", "sendrecv"):
        raise NotAcceptable("The offer does not want to receive video: add a=recvonly to its video.", code="no_video")
    for section in media:
        if not (section.ice and section.ice.usernameFragment and section.ice.password):
            raise _malformed("ICE credentials (a=ice-ufrag, a=ice-pwd) are missing")
        if not (section.dtls and section.dtls.fingerprints):
            raise _malformed("the DTLS fingerprint or role (a=fingerprint, a=setup) is missing")


def _translated(error: Exception) -> GetiActionError:
    match error:
        case OperationError():
            return NotAcceptable(
                "No codec in common: this camera sends H.264 (Baseline, packetization-mode 1) and nothing else yet; "
                "VP8 comes later.",
                code="no_common_codec",
            )
        case InvalidStateError():
            return Unavailable("The camera was closed meanwhile. Connect again.")
        case _:
            return _malformed(str(error) or "a line in it is broken")


def _malformed(reason: str) -> Malformed:
    return Malformed(f"The body is not an SDP offer that can be answered: {reason}.", code="malformed_sdp")
