/* TLS: echo over open connections, connections with a full or a resumed handshake, and idle connections.
 *
 * Compiled only with the headers of OpenSSL. The certificate is not verified: only the server's work is measured.
 */
#include "load.h"

#if __has_include(<openssl/ssl.h>)

#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, DRAIN = 5, PATIENCE_MS = 10000, A_SOURCE = 500, BURST = 65536 };
static const uint64_t SECOND = 1000000000u;

struct connection {
    int fd;
    SSL *ssl;
    uint64_t place; /* position of its offset 0 in the pattern */
    uint64_t sent, received;
    uint64_t began; /* when its message was sent */
};

static SSL_CTX *context;
static SSL_SESSION *session;
static unsigned char buffer[1 << 16];
static struct connection *connections;
static uint64_t serial;

static int keep(SSL *ssl, SSL_SESSION *one)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = one;
    return 1;
}

static void prepare(void)
{
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        fail("OpenSSL has no context");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep);
}

/* Waits for the socket as an SSL call asks; fails after any other error. */
static void await(struct connection *c, int result)
{
    int error = SSL_get_error(c->ssl, result);
    struct pollfd p = {.fd = c->fd, .events = error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN};

    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        fail("connection %u: TLS error %d", (unsigned)(c - connections), error);
    if (poll(&p, 1, PATIENCE_MS) != 1)
        fail("connection %u: no reply within %d s", (unsigned)(c - connections), PATIENCE_MS / 1000);
}

static void open_tls(struct connection *c, unsigned source)
{
    int result;

    *c = (struct connection){.fd = dial(source), .place = serial++ * 7919u};
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl: %s", strerror(errno));
    c->ssl = SSL_new(context);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)
        fail("OpenSSL has no connection");
    if (opt.resume && session != NULL)
        SSL_set_session(c->ssl, session);
    while ((result = SSL_connect(c->ssl)) != 1)
        await(c, result);
}

static void send_message(struct connection *c, unsigned size)
{
    for (uint64_t end = c->sent + size; c->sent < end;) {
        int n = SSL_write(c->ssl, pattern + (c->place + c->sent) % PERIOD, (int)(end - c->sent));
        if (n > 0)
            c->sent += (uint64_t)n;
        else
            await(c, n);
    }
}

/* Receives what is there; true when every sent byte came back. */
static bool receive(struct connection *c)
{
    int n = 0;

    while (c->received < c->sent && (n = SSL_read(c->ssl, buffer, sizeof buffer)) > 0) {
        if (c->received + (uint64_t)n > c->sent)
            fail("wrong byte: connection %u: received more than was sent", (unsigned)(c - connections));
        verify(buffer, (size_t)n, c->place + c->received, "connection", (unsigned)(c - connections));
        c->received += (uint64_t)n;
    }
    if (c->received == c->sent)
        return true;
    if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
        fail("connection %u was closed by the server after %llu bytes", (unsigned)(c - connections),
             (unsigned long long)c->received);
    return false;
}

static void converse(struct connection *c, unsigned size)
{
    send_message(c, size);
    while (!receive(c))
        await(c, -1);
}

/* Ends sending with close_notify; the server must end, too. */
static void close_tls(struct connection *c)
{
    int n;

    SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
    while ((n = SSL_read(c->ssl, buffer, sizeof buffer)) <= 0 && SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
        await(c, n);
    if (n > 0)
        fail("wrong byte: connection %u: %d bytes too many at its end", (unsigned)(c - connections), n);
    if (SSL_get_error(c->ssl, n) != SSL_ERROR_ZERO_RETURN && !opt.fin)
        fail("connection %u: the server ended without close_notify", (unsigned)(c - connections));
    SSL_free(c->ssl);
    close(c->fd);
}

static uint64_t slice(int ep, double seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), messages = 0;
    unsigned busy = opt.connections;

    for (unsigned i = 0; i < opt.connections; i++) {
        connections[i].began = now_ns();
        send_message(&connections[i], opt.size);
    }
    while (busy > 0) {
        int n = epoll_wait(ep, events, EVENTS, 100);
        uint64_t now = now_ns();
        if (now > end + DRAIN * SECOND)
            fail("%u messages had no reply within %d s", busy, DRAIN);
        for (int k = 0; k < n; k++) {
            struct connection *c = &connections[events[k].data.u32];
            if (c->received == c->sent || !receive(c))
                continue;
            now = now_ns();
            latency_add(now - c->began);
            messages++;
            if (now >= end) {
                busy--;
                continue;
            }
            c->began = now;
            send_message(c, opt.size);
        }
    }
    return messages;
}

void tls_mode(void)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);

    prepare();
    connections = allocate(opt.connections, sizeof *connections);
    for (unsigned i = 0; i < opt.connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        open_tls(&connections[i], 0);
        converse(&connections[i], 1); /* session tickets have arrived before the first message */
        if (epoll_ctl(ep, EPOLL_CTL_ADD, connections[i].fd, &event) < 0)
            fail("epoll_ctl: %s", strerror(errno));
    }
    slice(ep, opt.warm);
    slice_begin();
    slice_report(slice(ep, opt.seconds), 0);
    for (unsigned i = 0; i < opt.connections; i++)
        close_tls(&connections[i]);
}

static uint64_t visits(double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), complete = 0;

    while (now_ns() < end || complete == 0) {
        uint64_t began = now_ns();
        bool again = session != NULL;
        open_tls(&connections[0], 0);
        converse(&connections[0], opt.size);
        if (opt.resume && again && !SSL_session_reused(connections[0].ssl))
            fail("the server does not resume sessions");
        close_tls(&connections[0]);
        latency_add(now_ns() - began);
        complete++;
    }
    return complete;
}

void tls_connect_mode(void)
{
    prepare();
    connections = allocate(1, sizeof *connections);
    visits(opt.warm);
    slice_begin();
    slice_report(visits(opt.seconds), 0);
}

void tls_idle_mode(void)
{
    prepare();
    connections = allocate(opt.connections, sizeof *connections);
    for (unsigned i = 0; i < opt.connections; i++) {
        open_tls(&connections[i], 0x020001u + i / A_SOURCE);
        converse(&connections[i], opt.size);
    }
    say("open");
    wait_for_driver();
    for (unsigned i = 0; i < opt.connections; i++)
        converse(&connections[i], opt.burst ? BURST : 1);
    say("used");
    wait_for_driver();
    for (unsigned i = 0; i < opt.connections; i++)
        close_tls(&connections[i]);
}

#else

static void none(void)
{
    fail("compiled without OpenSSL: apt install libssl-dev | dnf install openssl-devel");
}

void tls_mode(void) { none(); }
void tls_connect_mode(void) { none(); }
void tls_idle_mode(void) { none(); }

#endif
