// A phone in a browser: JsSIP on a WebSocket, subscribed to one lamp. Writes a line of JSON for each NOTIFY.
//
//     node phone.js ws://127.0.0.1:5080 sip:101@office.example.com
//
// On SIGTERM it unsubscribes, and ends once the last NOTIFY has come.

import { createRequire } from 'node:module';
import WebSocket from 'ws';

globalThis.WebSocket = WebSocket; // what a browser has
const JsSIP = createRequire(import.meta.url)('jssip');

const [url, target] = process.argv.slice(2);
const ua = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(url)],
  uri: 'sip:browser@office.example.com',
  register: false,
});
const say = (what) => console.log(JSON.stringify(what));

let subscriber;
ua.on('connected', () => {
  subscriber = ua.subscribe(target, 'dialog', 'application/dialog-info+xml', { expires: 600 });
  subscriber.on('notify', (final, request, body) => {
    say({ state: /<state>(\w+)</.exec(body)?.[1], via: request.getHeader('via'), uri: `${request.ruri}`, final });
  });
  subscriber.on('terminated', (code) => {
    say({ terminated: code });
    ua.stop();
    process.exit(0);
  });
  subscriber.subscribe();
});
ua.on('disconnected', () => say({ disconnected: true }));
process.on('SIGTERM', () => subscriber.terminate());
ua.start();
