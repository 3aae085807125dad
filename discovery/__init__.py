"""Finding nodes that might be out there.

Sources give hints where to dial: `Mdns` (the network segment), `Local` (this machine) and `Seeds`
(addresses that someone wrote down). `Discovery` runs several as one. A hint proves nothing: who is
there, and alive, shows only in talking to it. The package stands alone:

    import asyncio, uuid
    from discovery import Announcement, Discovery, Local, Mdns, Seeds

    async def main() -> None:
        me = Announcement(uuid.uuid4().hex, "demo", 1, ("127.0.0.1",), 5555)
        finder = Discovery([Mdns(), Local(), Seeds(["10.0.0.1:5555"])], found=print)
        await finder.start(me)
        await asyncio.sleep(5)
        print(finder.states())
        await finder.close()

    asyncio.run(main())
"""

from discovery.address import format_address, parse_address
from discovery.local import Local
from discovery.mdns import Mdns
from discovery.merge import Discovery
from discovery.seeds import Seeds
from discovery.source import Announcement, Candidate, Source, SourceState

__all__ = [
    "Announcement",
    "Candidate",
    "Discovery",
    "Local",
    "Mdns",
    "Seeds",
    "Source",
    "SourceState",
    "format_address",
    "parse_address",
]
