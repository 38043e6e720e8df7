/* Connect to the server, by path or by address, from a given source address. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

void destination(void *address, unsigned *length)
{
    if (opt.path != NULL) {
        struct sockaddr_un *to = address;
        memset(to, 0, sizeof *to);
        to->sun_family = AF_UNIX;
        if (strlen(opt.path) >= sizeof to->sun_path)
            fail("%s: the path is too long for a Unix socket", opt.path);
        strcpy(to->sun_path, opt.path);
        *length = sizeof *to;
        return;
    }
    struct sockaddr_in *to = address;
    memset(to, 0, sizeof *to);
    to->sin_family = AF_INET;
    to->sin_port = htons((uint16_t)opt.port);
    if (inet_pton(AF_INET, opt.host, &to->sin_addr) != 1)
        fail("%s: not an IPv4 address", opt.host);
    *length = sizeof *to;
}

size_t proxy_header(unsigned char *to)
{
    static const unsigned char V2[PROXY_HEADER] = {
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0x00, 0x0c,
        127, 1, 2, 3, 127, 0, 0, 1, 0x13, 0x88, 0x00, 0x07, /* from 127.1.2.3:5000 to 127.0.0.1:7 */
    };
    if (!opt.proxy)
        return 0;
    memcpy(to, V2, sizeof V2);
    return sizeof V2;
}

static int open_stream(unsigned source, int flags)
{
    union {
        struct sockaddr_in in;
        struct sockaddr_un un;
    } to;
    unsigned length;
    int one = 1, fd = socket(opt.path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd < 0)
        fail("socket: %s", strerror(errno));
    destination(&to, &length);
    if (opt.path == NULL) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (source != 0) { /* every address of 127.0.0.0/8 is local: each adds 28,000 ports */
            struct sockaddr_in from = {.sin_family = AF_INET};
            from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & 0xff000000u) | (source & 0xffffffu));
            setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
            if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
                fail("bind to source address 127.x+%u: %s", source, strerror(errno));
        }
    }
    int result;
    while ((result = connect(fd, (struct sockaddr *)&to, length)) < 0 && errno == EINTR)
        ;
    if (result < 0 && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    return fd;
}

int dial(unsigned source)
{
    unsigned char first[PROXY_HEADER];
    size_t length = proxy_header(first);
    int fd = open_stream(source, 0);

    if (length > 0 && send(fd, first, length, MSG_NOSIGNAL) != (ssize_t)length)
        fail("send: %s", strerror(errno));
    return fd;
}

int dial_begin(unsigned source)
{
    return open_stream(source, SOCK_NONBLOCK);
}

void settle(int fd, uint64_t offset, unsigned index)
{
    struct timeval patience = {.tv_sec = 10};
    unsigned char got;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(fd, pattern + offset % PERIOD, 1, MSG_NOSIGNAL) != 1)
        fail("connection %u: send: %s", index, strerror(errno));
    ssize_t n = recv_restarted(fd, &got, 1);
    if (n == 0)
        fail("connection %u was closed by the server before its reply", index);
    if (n < 0)
        fail("connection %u: no reply: %s", index, strerror(errno));
    verify(&got, 1, offset, "connection", index);
}
