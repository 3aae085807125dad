"""The events of the lines that ``mesh`` and ``discovery`` log; see ``patterns.logs``."""

from __future__ import annotations

from patterns.logs import EVENTS, get_logger

__all__ = ["get_logger"]

EVENTS.update({
    # A node's life.
    "no mesh key: anybody on this network can join, read and call; give key='some words'": (
        "insecure",
    ),
    "the descriptor limit of this process was %d and is %d now": (
        "descriptor_limit_raised", "before", "now",
    ),
    "the descriptor limit stays at %d: %s": ("descriptor_limit_kept", "limit", "reason"),
    "%r: %s": ("not_flushed", "node", "reason"),
    "%r leaves though it is %s": ("not_drained", "node", "reason"),
    "%s is %s": ("not_drained", "node", "reason"),
    "%s: %s asked it to drain%s": ("drain_asked_for", "node", "peer", "and"),
    "%s: %s sets the level of the logger %s to %s": (
        "log_level_set", "node", "peer", "logger", "level",
    ),
    "%s: the drain went wrong": ("internal_error", "node"),
    "%s lost at close: %s": ("lost_at_close", "node", "what"),
    "%s: its loop ended before close(): no goodbye was said": ("loop_ended_early", "node"),
    "%s: closing went wrong": ("internal_error", "node"),
    "%s: its loop did not end well": ("internal_error", "node"),
    "%s: %r does not end its loop": ("loop_not_ended", "node", "reason"),
    "%s: %d coroutines do not end when they are cancelled: %r": (
        "coroutines_left", "node", "count", "which",
    ),
    "what a thread handed over raised": ("internal_error",),
    "the outcome of a handler could not be delivered": ("internal_error",),
    "no thread can be started, %d messages are lost": ("no_thread", "lost"),
    "on_stop of %s for %r raised: %s": ("actor_stop_failed", "actor", "key", "text"),
    "the health of %s is %s now: %s": ("health_changed", "node", "status", "reason"),
    "%s: its metrics are not served any more": ("internal_error", "node"),
    "the tracer provider could not begin a span": ("internal_error",),
    "the tracer provider could not end a span": ("internal_error",),
    "%s; it is tried again each %g s": ("store_failing", "reason", "seconds"),
    "a request for metrics was given up: %r": ("metrics_request_given_up", "reason"),
    # Work queues.
    "job %s%s of %r: %s: %s": ("jobs_lost", "job", "others", "queue", "what", "reason"),
    "job %s of %r is lost here: %s": ("job_lost", "job", "queue", "reason"),
    "job %s of %r is dead: %s: %s": ("job_dead", "job", "queue", "type", "text"),
    "job %s of %r is tried again in %.3g s: %s: %s": (
        "job_retried", "job", "queue", "seconds", "type", "text",
    ),
    "the retry policy of %s raised": ("retry_policy_failed", "queues"),
    "on_deadline_soon of %r raised": ("job_callback_failed", "queue"),
    "a callback of a job raised": ("job_callback_failed",),
    "what was told of the progress of a job cannot be decoded: %s": (
        "progress_unreadable", "reason",
    ),
    "nobody knows what became of job %s: %s": ("job_unknown", "job", "reason"),
    "%s: what was told of a commit was not taken": ("internal_error", "path"),
    "no jobs of %r: %s": ("no_jobs", "queue", "reason"),
    "no jobs of %r from a home: %s": ("no_jobs", "queue", "reason"),
    "the way to a home of %r ended: %s": ("way_to_home_ended", "queue", "reason"),
    "drawing from %r went wrong": ("internal_error", "queue"),
    "a worker of %r has gone: %s": ("worker_gone", "queue", "reason"),
    "%s: jobs still run after %g s": ("jobs_still_run", "node", "seconds"),
    "%s: not all that was to be written of its jobs is": ("jobs_not_written", "node"),
    # Members and links. The name of the change is the event: peer_joined, peer_failed, ...
    "%s %s: %s": ("", "peer", "reason"),
    "the link from %s is reset: %s": ("link_reset", "peer", "reason"),
    "%s: %s (told once a minute)": ("no_room_for_links", "what", "reason"),
    "%s: %s": ("no_room_for_links", "what", "reason"),
    "no connection for calls to %s: %s": ("lane_not_opened", "peer", "reason"),
    "no connection for work to %s: %s": ("lane_not_opened", "peer", "reason"),
    "cannot connect to %s: %s": ("dial_failed", "address", "reason"),
    "nobody is at %s: %s": ("dial_failed", "address", "reason"),
    "no link to %s: %s": ("dial_failed", "address", "reason"),
    "probe of %s:%d: %r": ("probe_failed", "host", "port", "reason"),
    "no shared memory for payloads: %s": ("no_shared_memory", "reason"),
    "the memory that a peer offers cannot be had: %s": ("no_shared_memory", "reason"),
    # What was refused or could not be read.
    "a request frame was refused: %s": ("frame_refused", "reason"),
    "a reply frame was refused: %s": ("frame_refused", "reason"),
    "a work frame was refused: %s": ("frame_refused", "reason"),
    "a frame from %s was refused: %s": ("frame_refused", "address", "reason"),
    "a malformed info was ignored: %s": ("frame_refused", "reason"),
    "a frame of %s could not be decoded: %s": ("message_unreadable", "peer", "reason"),
    "a parcel of %s could not be decoded: %s": ("message_unreadable", "peer", "reason"),
    "a cast could not be decoded: %s": ("message_unreadable", "reason"),
    "a work frame could not be decoded as a whole: %s": ("message_unreadable", "reason"),
    "a call of this node to itself could not be decoded: %s": ("message_unreadable", "reason"),
    "a frame to this node itself could not be decoded: %s": ("message_unreadable", "reason"),
    "a payload of %s was refused: %s": ("payload_refused", "peer", "reason"),
    # Plain clients.
    "%s: plain clients are not served any more: %s": ("plain_ended", "node", "reason"),
    "a plain subscription to %.80r is refused: %s": ("plain_refused", "prefix", "reason"),
    # Who may come in, and do what.
    "denied: %s": ("denied", "what"),
    "denied %d times more: %s": ("denied", "times", "what"),
    "denied %d times more: other names, or to others": ("denied", "times"),
    "a connection from %s was refused: its key is no member's": ("stranger_refused", "address"),
    "a knock from %s was refused: %s": ("stranger_refused", "address", "reason"),
    "a node was refused at the door: %s": ("node_refused", "reason"),
    "a visitor has gone, or does not listen: %r": ("visitor_gone", "reason"),
    "a node at the door brought what is not to be believed: %s": ("statement_refused", "reason"),
    "%s was not told the news: %r": ("news_not_told", "address", "reason"),
    "%d certificates are revoked": ("certificates_revoked", "count"),
    "the certificate of this node, %s, is revoked": ("own_certificate_revoked", "name"),
    "the mesh key has changed; the old one is good for %d s": ("key_changed", "seconds"),
    "the old mesh key is not accepted any more": ("old_key_ended",),
    "the new keys could not be kept, and are gone at a restart: %s": ("keys_not_kept", "reason"),
    "the mesh key has changed, and this node got its own as text: give it the new one before it "
    "is started again": ("key_changed_elsewhere",),
    # Discovery.
    "source %s fails: %s": ("discovery_failing", "source", "reason"),
    "source %s does not stop starting": ("discovery_stuck", "source"),
    "source %s does not close in %s s": ("discovery_stuck", "source", "seconds"),
    "source %s failed to close": ("discovery_failing", "source"),
    "source %s failed to announce new addresses": ("discovery_failing", "source"),
    "the consumer failed on %s": ("internal_error", "candidate"),
    "the network interfaces cannot be listed: %s": ("no_interfaces", "reason"),
    "mdns: cannot use the network": ("discovery_failing",),
    "mdns: cannot announce a node": ("discovery_failing",),
    "mdns: cannot resolve %s": ("discovery_failing", "id"),
    "mdns: no time for all of the goodbye": ("goodbye_cut_short",),
})  # fmt: skip

get_logger("discovery")  # which knows nothing of the mesh
