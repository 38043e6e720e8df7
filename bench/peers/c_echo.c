/* The C reference: a stream echo on level-triggered epoll.
 *
 * c_echo HOST PORT [upper|proxy]      c_echo unix PATH [upper]
 *
 * One read and one write per message. After a short write the rest is kept, and the connection is not read until the
 * rest was written. An idle connection uses no user memory. With `proxy`, a PROXY header of version 2 over IPv4 comes
 * first, in one segment; it is checked and dropped.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HEADER = 28, READ = 65536, EVENTS = 256, BACKLOG = 4096 };

static struct rest {
    char *bytes; /* NULL if no data is pending */
    size_t length, gone;
    bool expects; /* its header has not come yet */
} *rests; /* by descriptor */
static char buffer[READ];
static int ep;
static bool upper, proxy;
static const char V2[16] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";

static void check(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static void watch(int fd, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    epoll_ctl(ep, operation, fd, &event);
}

static int listen_at(const char *host, const char *port)
{
    int one = 1;
    int fd;

    if (strcmp(host, "unix") == 0) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        strncpy(at.sun_path, port, sizeof at.sun_path - 1);
        unlink(port);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        check(bind(fd, (struct sockaddr *)&at, sizeof at), port);
    } else {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
        inet_pton(AF_INET, host, &at.sin_addr);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
        check(bind(fd, (struct sockaddr *)&at, sizeof at), "bind");
    }
    check(listen(fd, BACKLOG), "listen");
    return fd;
}

static void end(int fd)
{
    free(rests[fd].bytes);
    rests[fd].bytes = NULL;
    close(fd);
}

static void answer(int fd)
{
    ssize_t n = recv(fd, buffer, sizeof buffer, 0), sent;

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        end(fd);
        return;
    }
    char *from = buffer;
    if (rests[fd].expects) {
        if (n < HEADER || memcmp(buffer, V2, sizeof V2) != 0) {
            end(fd);
            return;
        }
        rests[fd].expects = false;
        from += HEADER;
        n -= HEADER;
        if (n == 0)
            return;
    }
    if (upper)
        for (ssize_t i = 0; i < n; i++)
            buffer[i] = (char)(buffer[i] - (buffer[i] >= 'a' && buffer[i] <= 'z' ? 32 : 0));
    sent = send(fd, from, (size_t)n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        end(fd);
        return;
    }
    if (sent < 0)
        sent = 0;
    if (sent < n) {
        struct rest *r = &rests[fd];
        *r = (struct rest){.bytes = malloc((size_t)(n - sent)), .length = (size_t)(n - sent)};
        memcpy(r->bytes, from + sent, r->length);
        watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
    }
}

static void flush(int fd)
{
    struct rest *r = &rests[fd];
    ssize_t sent = send(fd, r->bytes + r->gone, r->length - r->gone, MSG_NOSIGNAL);

    if (sent < 0 && errno == EAGAIN)
        return;
    if (sent < 0) {
        end(fd);
        return;
    }
    r->gone += (size_t)sent;
    if (r->gone == r->length) {
        free(r->bytes);
        r->bytes = NULL;
        watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct rlimit files;
    int listener, fd;

    if (argc < 3) {
        fputs("c_echo HOST PORT [upper|proxy]\n", stderr);
        return 2;
    }
    upper = argc > 3 && strcmp(argv[3], "upper") == 0;
    proxy = argc > 3 && strcmp(argv[3], "proxy") == 0;
    getrlimit(RLIMIT_NOFILE, &files);
    rests = calloc(files.rlim_cur, sizeof *rests);
    ep = epoll_create1(0);
    listener = listen_at(argv[1], argv[2]);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    rests[fd].expects = proxy;
                    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
                }
            } else if (rests[events[i].data.fd].bytes != NULL) {
                flush(events[i].data.fd);
            } else {
                answer(events[i].data.fd);
            }
        }
    }
}
