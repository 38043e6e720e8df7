/* Echo over TLS in C with OpenSSL: one epoll loop, no limits, no time-outs. c_tls HOST PORT tls CERTIFICATE */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, SIZE = 65536 };
static unsigned char buffer[SIZE];

struct connection {
    int fd;
    SSL *ssl;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Writes everything. A peer that does not read delays all others: this is a yardstick, not a server. */
static int put(struct connection *c, int size)
{
    for (int at = 0; at < size;) {
        int n = SSL_write(c->ssl, buffer + at, size - at);
        if (n > 0) {
            at += n;
        } else {
            struct pollfd p = {.fd = c->fd, .events = POLLOUT};
            if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_WRITE || poll(&p, 1, 1000) != 1)
                return 0;
        }
    }
    return 1;
}

/* Returns 0 at the end of the connection. */
static int serve(struct connection *c)
{
    int n;

    while ((n = SSL_read(c->ssl, buffer, SIZE)) > 0)
        if (!put(c, n))
            return 0;
    int error = SSL_get_error(c->ssl, n);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return 1;
    if (error == SSL_ERROR_ZERO_RETURN)
        SSL_shutdown(c->ssl);
    return 0;
}

int main(int argc, char **argv)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (argc < 5)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_num_tickets(context, 1);
    if (SSL_CTX_use_certificate_chain_file(context, argv[4]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[4], SSL_FILETYPE_PEM) != 1)
        fail(argv[4]);
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0)
        fail("listen");
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c != NULL) {
                if (!serve(c)) {
                    SSL_free(c->ssl);
                    close(c->fd);
                    free(c);
                }
                continue;
            }
            int fd;
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                c = malloc(sizeof *c);
                *c = (struct connection){.fd = fd, .ssl = SSL_new(context)};
                SSL_set_fd(c->ssl, fd);
                SSL_set_accept_state(c->ssl);
                event.data.ptr = c;
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
