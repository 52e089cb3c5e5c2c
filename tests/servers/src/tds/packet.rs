//! Packets: the eight-byte header, messages over several packets, and noticing an Attention while answering.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use crate::tds::failure::Failure;
use crate::tds::transport::{Transport, Wait};
use crate::tds::wire::Put;

/// The types of packets that this server knows (MS-TDS 2.2.3.1.1).
pub(crate) mod kind {
    pub(crate) const BATCH: u8 = 0x01;
    pub(crate) const RPC: u8 = 0x03;
    pub(crate) const RESULT: u8 = 0x04;
    pub(crate) const ATTENTION: u8 = 0x06;
    pub(crate) const TRANSACTION_MANAGER: u8 = 0x0E;
    pub(crate) const LOGIN7: u8 = 0x10;
    pub(crate) const PRELOGIN: u8 = 0x12;
}

/// The packet size before one is negotiated, in bytes with the header.
pub(crate) const INITIAL_SIZE: usize = 4096;

const HEADER: usize = 8;
const END_OF_MESSAGE: u8 = 0x01;
const IGNORE: u8 = 0x02;

struct Packet {
    kind: u8,
    status: u8,
    payload: Vec<u8>,
}

/// All the payloads of one message, together.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

/// One client's packets, in and out.
pub(crate) struct Connection {
    transport: Transport,
    /// Bytes that arrived and aren't read yet.
    inbox: Vec<u8>,
    /// Bytes of the answer that aren't sent yet.
    outbox: Vec<u8>,
    packet_size: usize,
    packet_id: u8,
    session: u16,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, session: u16) -> Result<Connection, Failure> {
        Ok(Connection {
            transport: Transport::new(stream)?,
            inbox: Vec::new(),
            outbox: Vec::new(),
            packet_size: INITIAL_SIZE,
            packet_id: 0,
            session,
        })
    }

    /// From here on packets of up to this many bytes, header included, go both ways.
    pub(crate) fn set_packet_size(&mut self, packet_size: usize) {
        self.packet_size = packet_size;
    }

    /// The next whole message. A message that an Attention interrupts, or that its sender takes back, is dropped.
    pub(crate) fn read_message(&mut self) -> Result<Message, Failure> {
        let mut message: Option<Message> = None;
        loop {
            let packet = self.read_packet()?;
            if packet.kind == kind::ATTENTION {
                return Ok(Message { kind: packet.kind, payload: Vec::new() });
            }
            let whole = message.get_or_insert(Message { kind: packet.kind, payload: Vec::new() });
            if whole.kind != packet.kind {
                let (first, then) = (whole.kind, packet.kind);
                return Err(Failure::protocol(format!(
                    "a packet of type {then} in a message of type {first}"
                )));
            }
            whole.payload.extend_from_slice(&packet.payload);
            if packet.status & IGNORE != 0 {
                message = None;
            } else if packet.status & END_OF_MESSAGE != 0
                && let Some(message) = message.take()
            {
                return Ok(message);
            }
        }
    }

    /// Whether an Attention arrives in that time. Anything else that arrives while a request is being answered is a
    /// violation, since this server doesn't do MARS.
    pub(crate) fn attention(&mut self, wait: Wait) -> Result<bool, Failure> {
        match self.poll_packet(wait)? {
            None => Ok(false),
            Some(packet) if packet.kind == kind::ATTENTION => Ok(true),
            Some(packet) => Err(Failure::protocol(format!(
                "a packet of type {} before the answer to the last request was complete",
                packet.kind
            ))),
        }
    }

    fn read_packet(&mut self) -> Result<Packet, Failure> {
        loop {
            if let Some(packet) = self.poll_packet(Wait::Forever)? {
                return Ok(packet);
            }
        }
    }

    fn poll_packet(&mut self, wait: Wait) -> Result<Option<Packet>, Failure> {
        loop {
            if let Some(packet) = self.take_packet()? {
                return Ok(Some(packet));
            }
            if !self.transport.fill(&mut self.inbox, wait)? {
                return Ok(None);
            }
        }
    }

    /// A packet out of the bytes that are here, if they hold a whole one.
    fn take_packet(&mut self) -> Result<Option<Packet>, Failure> {
        let Some(header) = self.inbox.first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, status, high, low, ..] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < HEADER || length > self.packet_size.max(INITIAL_SIZE) {
            let size = self.packet_size;
            return Err(Failure::protocol(format!(
                "a packet of type {kind} and {length} bytes, where {size} were negotiated"
            )));
        }
        if self.inbox.len() < length {
            return Ok(None);
        }
        let payload = self.inbox[HEADER..length].to_vec();
        self.inbox.drain(..length);
        Ok(Some(Packet { kind, status, payload }))
    }

    /// Runs the TLS handshake, its records inside of prelogin packets; what follows it is in bare records.
    pub(crate) fn handshake(&mut self, config: &Arc<ServerConfig>) -> Result<(), Failure> {
        let mut tls = ServerConnection::new(Arc::clone(config))?;
        while tls.is_handshaking() {
            let packet = self.read_packet()?;
            if packet.kind != kind::PRELOGIN {
                let kind = packet.kind;
                return Err(Failure::protocol(format!("a packet of type {kind} instead of a TLS handshake")));
            }
            let read = feed(&mut tls, &packet.payload);
            let mut answer = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut answer)?;
            }
            if !answer.is_empty() {
                self.send(kind::PRELOGIN, &answer)?;
            }
            // Only now: where the handshake fails, the answer is the alert that says so.
            read?;
        }
        if !self.inbox.is_empty() {
            return Err(Failure::protocol("bytes before the end of the TLS handshake".to_owned()));
        }
        self.transport.start_tls(tls);
        Ok(())
    }

    /// Leaves TLS, as both sides do after a login that alone was encrypted.
    pub(crate) fn stop_tls(&mut self) {
        self.transport.stop_tls();
    }

    /// Sends a whole message of its own.
    pub(crate) fn send(&mut self, kind: u8, payload: &[u8]) -> Result<(), Failure> {
        self.packet_id = 0;
        let mut chunks = payload.chunks(self.packet_size - HEADER).peekable();
        while let Some(chunk) = chunks.next() {
            let status = if chunks.peek().is_none() { END_OF_MESSAGE } else { 0 };
            self.send_packet(kind, status, chunk)?;
        }
        Ok(())
    }

    /// Where the tokens of an answer are written, to be sent by [`flush_full`](Connection::flush_full) and
    /// [`finish`](Connection::finish).
    pub(crate) fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Sends the full packets of the answer so far, and says whether there were any.
    pub(crate) fn flush_full(&mut self) -> Result<bool, Failure> {
        let room = self.packet_size - HEADER;
        // The last byte stays: it goes with the end of the message.
        if self.outbox.len() <= room {
            return Ok(false);
        }
        let outbox = std::mem::take(&mut self.outbox);
        let n_sent = (outbox.len() - 1) / room * room;
        for chunk in outbox[..n_sent].chunks(room) {
            self.send_packet(kind::RESULT, 0, chunk)?;
        }
        self.outbox = outbox[n_sent..].to_vec();
        Ok(true)
    }

    /// Sends all of the answer so far, its last packet short.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.flush_full()?;
        let outbox = std::mem::take(&mut self.outbox);
        if outbox.is_empty() { Ok(()) } else { self.send_packet(kind::RESULT, 0, &outbox) }
    }

    /// Ends the answer.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.flush_full()?;
        let outbox = std::mem::take(&mut self.outbox);
        self.send_packet(kind::RESULT, END_OF_MESSAGE, &outbox)?;
        self.packet_id = 0;
        Ok(())
    }

    fn send_packet(&mut self, kind: u8, status: u8, payload: &[u8]) -> Result<(), Failure> {
        self.packet_id = self.packet_id.wrapping_add(1);
        // A packet size is at most 32767.
        let length = u16::try_from(HEADER + payload.len()).expect("a packet is below 64 KiB");
        let mut packet = Vec::with_capacity(HEADER + payload.len());
        packet.put(&[kind, status]);
        packet.put(&length.to_be_bytes());
        packet.put(&self.session.to_be_bytes());
        packet.put(&[self.packet_id, 0]);
        packet.put(payload);
        self.transport.write(&packet)
    }
}

fn feed(tls: &mut ServerConnection, mut records: &[u8]) -> Result<(), Failure> {
    while !records.is_empty() {
        tls.read_tls(&mut records)?;
        tls.process_new_packets()?;
    }
    Ok(())
}
