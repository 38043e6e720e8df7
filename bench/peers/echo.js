// Node: the echo server of its documentation.
//
//   echo.js HOST PORT [upper] [udp]        echo.js unix PATH [upper]
'use strict';

const dgram = require('node:dgram');
const net = require('node:net');

const [host, port, word] = process.argv.slice(2);
const ready = () => console.log('ready');

function upper(data) {
  for (let i = 0; i < data.length; i++) {
    if (data[i] >= 97 && data[i] <= 122) data[i] -= 32;
  }
  return data;
}

if (word === 'udp') {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (message, peer) => socket.send(message, peer.port, peer.address));
  socket.bind(Number(port), host, ready);
} else {
  const server = net.createServer((connection) => {
    connection.on('error', () => connection.destroy());
    if (word === 'upper') connection.on('data', (data) => connection.write(upper(data)));
    else connection.pipe(connection);
  });
  if (host === 'unix') server.listen(port, ready);
  else server.listen(Number(port), host, ready);
}
