/* The load generator: what its parts share.
 *
 * One process, one thread, closed loop: a message is sent when an earlier one came back. Every byte that
 * comes back is compared with what must come back; the first wrong one ends the run with exit status 1 and
 * one line on standard error, so a figure that was printed is a figure of right answers.
 *
 * With its driver it speaks in lines: after connecting, warming up and draining it prints `warm` and waits
 * for a line (or the end) of standard input; it then runs the measured slice, drains, prints one JSON object,
 * and waits again before it ends its connections. The server is at rest at both moments, so its processor time
 * between them belongs to exactly the messages that were counted.
 */
#ifndef LOAD_H
#define LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options {
    const char *host; /* numeric IPv4 address */
    int port;
    const char *path;   /* of a Unix socket, or NULL for TCP and UDP */
    unsigned connections; /* stream, idle: open at once; connect: at work at once */
    unsigned size;      /* octets a message */
    unsigned depth;     /* messages in flight: a connection on streams, in all for datagrams */
    unsigned flows;     /* datagram: sockets, each one peer to the server */
    bool gso;           /* datagram: send with UDP_SEGMENT, receive with UDP_GRO */
    bool upper;         /* the answer is the message in upper case */
    double seconds;     /* of the measured slice */
    double warm;        /* seconds of the same before it */
};
extern struct options opt;

/* The modes; each prints its own report. */
void stream_mode(void);
void connect_mode(void);
void idle_mode(void);
void datagram_mode(void);

/* common.c */
enum { PERIOD = 65521, SPAN = 1 << 20 }; /* a prime, so a slip of any block size shows; most octets one call may send */
extern unsigned char *pattern;           /* PERIOD + SPAN octets, every value among them, repeating after PERIOD */
void pattern_make(void);
void verify(const unsigned char *got, size_t n, uint64_t offset, const char *what, unsigned index);

uint64_t now_ns(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *allocate(size_t count, size_t size); /* zeroed; never NULL */

void say(const char *line);      /* one line to the driver, at once */
void wait_for_driver(void);      /* until it writes a line or goes away */
void latency_add(uint64_t ns);
void slice_begin(void);          /* forget the warm-up; the clock starts */
void slice_report(uint64_t messages, uint64_t lost); /* latency: [[at most so many ns, messages], …]; then waits */

/* dial.c */
int dial(unsigned source); /* a connected blocking stream; source 0 leaves the address to the kernel */
int dial_begin(unsigned source); /* non-blocking, perhaps still connecting */
void settle(int fd, uint64_t offset, unsigned index); /* one octet there and back: everything before it was accepted */
void destination(void *address, unsigned *length);
enum { SETTLE_EVERY = 16 }; /* well under Twisted's default backlog of 50: no SYN is dropped and sent again a second later */

#endif
