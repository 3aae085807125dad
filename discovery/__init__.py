"""Finding nodes that might be out there.

Sources give hints where to dial: `Mdns` (the network segment), `Local` (this machine), `Seeds`
(addresses that someone wrote down), `Dns` (names) and `File` (a watched file). `Discovery` runs
several as one. A hint proves nothing: who is there, and alive, shows only in talking to it. The
package stands alone:

    import asyncio, uuid
    from discovery import Announcement, Discovery, Local, Mdns, Seeds

    async def main() -> None:
        me = Announcement(uuid.uuid4().hex, "demo", 1, ("127.0.0.1",), 5555)
        finder = Discovery([Mdns(), Local(), Seeds(["10.0.0.1:5555"])])
        await finder.start(me)
        async for candidate in finder.watch():  # what is known, then what changes
            print("gone" if candidate.is_gone else "found", candidate)

    asyncio.run(main())

A source of one's own is a class with the five names of `Source`.
"""

from discovery.address import format_address, is_ip_literal, is_service_name, parse_address
from discovery.file import File
from discovery.hints import Hints
from discovery.interfaces import Choice, Interface, check_wanted
from discovery.local import Local
from discovery.mdns import Mdns
from discovery.merge import Discovery, Watch
from discovery.network import Network
from discovery.seeds import Dns, Seeds
from discovery.source import Announcement, Candidate, Source, SourceState

__all__ = [
    "Announcement",
    "Candidate",
    "Choice",
    "Discovery",
    "Dns",
    "File",
    "Hints",
    "Interface",
    "Local",
    "Mdns",
    "Network",
    "Seeds",
    "Source",
    "SourceState",
    "Watch",
    "check_wanted",
    "format_address",
    "is_ip_literal",
    "is_service_name",
    "parse_address",
]
