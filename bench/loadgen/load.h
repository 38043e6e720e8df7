/* The load generator: shared declarations.
 *
 * One process, one thread, closed loop: a message is sent when an earlier one came back. Every received byte is
 * compared with the expected one. The first wrong byte ends the run with exit status 1 and one line on standard
 * error, so every printed figure belongs to correct replies.
 *
 * It talks to its driver in lines. It connects, warms up, drains, prints `warm` and waits for a line (or the end) of
 * standard input. Then it runs the measured slice, drains, prints one JSON object, and waits again before it closes
 * its connections. The server is idle at both moments, so its processor time between them belongs only to the
 * counted messages.
 */
#ifndef LOAD_H
#define LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct options {
    const char *host; /* numeric IPv4 address */
    int port;
    const char *path;   /* of a Unix socket, or NULL for TCP and UDP */
    unsigned connections; /* stream, idle: open at once; connect: conversations at once */
    unsigned size;      /* bytes per message */
    unsigned depth;     /* messages in flight: per connection on streams, in total for datagrams */
    unsigned flows;     /* datagram: sockets, each a separate peer to the server */
    bool gso;           /* datagram: send with UDP_SEGMENT, receive with UDP_GRO */
    bool upper;         /* the reply is the message in upper case */
    bool proxy;         /* stream, connect: a PROXY header of version 2 comes first */
    bool resume;        /* tls-connect: resume the session of the connection before */
    bool fin;           /* tls: a server may answer close_notify with a FIN alone */
    bool burst;         /* tls-idle: 64 KiB on each connection, not one byte, before `used` */
    double seconds;     /* of the measured slice */
    double warm;        /* seconds of warm-up before it */
};
extern struct options opt;

/* The modes; each prints its own report. */
void stream_mode(void);
void connect_mode(void);
void idle_mode(void);
void datagram_mode(void);
void websocket_mode(void);
void websocket_idle_mode(void);
void tls_mode(void);
void tls_connect_mode(void);
void tls_idle_mode(void);

/* common.c */
enum { PERIOD = 65521, SPAN = 1 << 20 }; /* a prime: shows a shift by any block size; the most bytes one call may send */
extern unsigned char *pattern;           /* PERIOD + SPAN bytes, every value among them, repeating after PERIOD */
void pattern_make(void);
void verify(const unsigned char *got, size_t n, uint64_t offset, const char *what, unsigned index);

uint64_t now_ns(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *allocate(size_t count, size_t size); /* zeroed; never NULL */
/* recv(2), again after EINTR: with SO_RCVTIMEO, SIGCONT interrupts it also without a handler (signal(7)). */
ssize_t recv_restarted(int fd, void *to, size_t size);

void say(const char *line);      /* writes one line to the driver, unbuffered */
void wait_for_driver(void);      /* until it writes a line or closes the pipe */
void latency_add(uint64_t ns);
void slice_begin(void);          /* discards the warm-up's figures and starts the clock */
extern uint64_t outstanding;       /* messages */
struct flows {                   /* the connections of a closed loop, by their numbers, which are their epoll data */
    int ep;
    void (*issue)(unsigned index, unsigned count, uint64_t now); /* sends so many messages, and adds them to outstanding */
    void (*push)(unsigned index);                                /* the socket is writable: sends what waits */
    unsigned (*pull)(unsigned index, uint64_t *now);             /* receives; returns how many messages it completed */
};
uint64_t closed_loop(const struct flows *flows, double seconds); /* until none is in flight; returns the messages */
void slice_report(uint64_t messages, uint64_t lost); /* latency: [[at most so many ns, messages], …]; then waits */

/* dial.c */
enum { PROXY_HEADER = 28 };          /* bytes of a PROXY header of version 2 over IPv4 */
size_t proxy_header(unsigned char *to); /* writes it if opt.proxy, and returns its length, or 0 */
int dial(unsigned source); /* a connected blocking stream; with source 0 the kernel chooses the address */
int dial_begin(unsigned source); /* non-blocking; the connection may be incomplete */
void settle(int fd, uint64_t offset, unsigned index); /* one byte there and back: all earlier connections were accepted */
void destination(void *address, unsigned *length);
enum { SETTLE_EVERY = 16 }; /* well under Twisted's default backlog of 50, so that no SYN is dropped and sent again after 1 s */

#endif
