// A plain ZeroMQ client that obeys: one JSON command a line in, one JSON answer a line out.
//
//   ["connect", rpc, pubsub, keys | null]     keys: [public, secret]
//   ["call", method, args, kwargs]            -> [status, value]
//   ["many", method, [args, ...]]             -> values, all in flight at once
//   ["subscribe", prefix]
//   ["next"]                                  -> [subject, data]
"use strict";

const readline = require("readline");
const { Dealer, Request, Subscriber } = require("zeromq");
const { decode, encode } = require("@msgpack/msgpack");

const request = new Request({ linger: 0 });
const dealer = new Dealer({ linger: 0 });
const subscriber = new Subscriber({ linger: 0 });

const commands = {
  async connect(rpc, pubsub, keys) {
    for (const socket of [request, dealer, subscriber]) {
      if (keys) {
        [socket.curvePublicKey, socket.curveSecretKey] = keys;
        socket.curveServerKey = keys[0];
      }
    }
    request.connect(rpc);
    dealer.connect(rpc);
    subscriber.connect(pubsub);
    return null;
  },

  async call(method, args, kwargs) {
    await request.send([method, encode([args, kwargs])]);
    const [status, value] = await request.receive();
    return [status.toString(), decode(value)];
  },

  async many(method, calls) {
    for (const [number, args] of calls.entries()) {
      await dealer.send([String(number), "", method, encode([args, {}])]);
    }
    const values = [];
    for (const _ of calls) {
      const [number, , status, value] = await dealer.receive();
      values[Number(number)] = [status.toString(), decode(value)];
    }
    return values;
  },

  async subscribe(prefix) {
    subscriber.subscribe(prefix);
    return null;
  },

  async next() {
    const [frame] = await subscriber.receive();
    const end = frame.indexOf(0);
    return [frame.subarray(0, end).toString(), decode(frame.subarray(end + 1))];
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [name, ...args] = JSON.parse(line);
    console.log(JSON.stringify(await commands[name](...args)));
  }
  for (const socket of [request, dealer, subscriber]) socket.close();
}

main();
