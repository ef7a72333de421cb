"""How fast the UPDATE codec is alone: `python -m tests.bench.micro_codec`, one JSON object a line."""

import json
import time

from speaker.bgp.decode import Decoder
from speaker.bgp.encode import encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family

BOTH = frozenset(Family)
SESSION = Negotiated(BOTH, BOTH, True, BOTH)
SETS, EACH = 1000, 1000
for family, length, lead in ((Family.IPV4, 24, b""), (Family.IPV6, 48, b"\xfd\x42\x00")):
    hop = bytes((10, *bytes(family.bits // 8 - 2), 1))
    sets = [Attributes(hop, local_pref=n, large_communities=((64512, 1, n), (64512, 2, 3))) for n in range(SETS)]
    keys = [bytes((length,)) + lead + number.to_bytes(3, "big") for number in range(SETS * EACH)]
    groups = [(7, attributes, keys[n * EACH : (n + 1) * EACH]) for n, attributes in enumerate(sets)]
    started = time.perf_counter()
    messages = encode_updates(family, SESSION, [], groups)
    encoded = time.perf_counter()
    decoder = Decoder(SESSION, ibgp=True)
    count = sum(len(part) for octets in messages for _, _, part, _ in decoder.decode(octets[19:]).announced)
    decoded = time.perf_counter()
    rates = {"encode": len(keys) / (encoded - started), "decode": count / (decoded - encoded)}
    print(json.dumps({"bench": f"codec_{family.value}", "unit": "routes/s", **{k: round(v) for k, v in rates.items()}}))
