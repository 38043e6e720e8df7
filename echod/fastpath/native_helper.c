/* The native helper of the fast path: forwards bytes in C until Python has to act. It is optional: without this library
 * forwarding.py and datagram_lane.py do the same in Python, and define the behaviour. native_loop.py uses it.
 *     cc -O3 -fPIC -shared -o libnative_helper.so native_helper.c
 * It needs no header of Python and keeps no state of its own: Python owns all memory that it uses. It never closes a
 * descriptor, never changes the events of one, and never blocks except in epoll_wait. Python decides about ends,
 * errors, short writes, and sources of datagrams. generate_libc.py declares the structures; ABI changes with them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { ABI = 3, ROUND = 64, UNIT = 65536, CONTROL = 128, MOST_JOINED = 65000, SOURCES = 65536, PROBES = 8 };
enum { LARGE = 8192, UDP = 17, UDP_SEGMENT = 103 }; /* LARGE: bytes of a read from which the next one uses splice */
enum { ECHO, UPPER };
enum { READY, END, LOST, LOST_IN_PIPE, SHORT, SHORT_IN_PIPE, DATAGRAMS, FAILED };

/* A source that the gate always admits, and the address that it has sent to. */
struct echod_source { uint32_t name[8], to[4]; };
/* A UDP socket: the slots of batch.py, the layout of IP_PKTINFO in them, and counts that Python has not added yet. */
struct echod_datagrams {
    struct mmsghdr *slots; struct echod_source *sources;
    unsigned int control_length, to_at, to_length, interface_at, joinable, alone; /* `alone`: turns with one datagram */
    uint64_t received, received_bytes, failed, failed_bytes;
};
/* A listener. `most` is the bytes of a read; `datagrams` is NULL for streams. */
struct echod_lane { int kind, pipe_read, pipe_write; unsigned int most; struct echod_datagrams *datagrams; };
/* A descriptor. `lane` is NULL if Python serves it; `large` is whether its last read was. */
struct echod_entry { uint64_t carried; struct echod_lane *lane; uint64_t large; };
/* A descriptor for Python. `received` has the bytes; for READY the events, for DATAGRAMS the number in the slots. */
struct echod_told { int descriptor, what, received, sent; };
struct echod_loop { /* `size` is the number of entries, `counted` whether a socket has counts for Python */
    int epoll; unsigned int size, counted; struct echod_entry *entries;
    struct echod_told told[ROUND];
    char buffer[UNIT];
};

int echod_abi(void) { return ABI; }

static void upper(char *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        data[i] -= (unsigned char)(data[i] - 'a') < 26 ? 'a' - 'A' : 0;
}

/* Forwards one read of a connection. Returns 0 if everything was sent; otherwise fills `told` and returns 1. */
static int forward(struct echod_loop *loop, struct echod_entry *entry, struct echod_told *told) {
    struct echod_lane *lane = entry->lane;
    int descriptor = told->descriptor, piped = entry->large && lane->kind == ECHO;
    ssize_t received = -1, sent;
    if (piped && (received = splice(descriptor, NULL, lane->pipe_write, NULL, lane->most, SPLICE_F_NONBLOCK)) < 0
        && errno != EAGAIN && errno != EINTR)
        return told->what = LOST;
    if (received <= 0) { /* also at the end of input, and before urgent data: only recv can distinguish them */
        piped = 0;
        received = recv(descriptor, loop->buffer, lane->most < UNIT ? lane->most : UNIT, MSG_DONTWAIT);
        if (received <= 0)
            return !received ? (told->what = END) : errno == EAGAIN || errno == EINTR ? 0 : (told->what = LOST);
        if (lane->kind == UPPER) upper(loop->buffer, received);
    }
    entry->carried += received;
    entry->large = received >= LARGE;
    do
        sent = piped ? splice(lane->pipe_read, NULL, descriptor, NULL, received, SPLICE_F_NONBLOCK)
                     : send(descriptor, loop->buffer, received, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    told->received = received;
    told->sent = sent > 0 ? sent : 0;
    return sent == received ? 0 : (told->what = (sent >= 0 || errno == EAGAIN ? SHORT : LOST) + piped);
}

/* The source of a slot, or NULL. With `add` it becomes known. */
static struct echod_source *find(struct echod_datagrams *lane, int slot, int add) {
    uint32_t *name = lane->slots[slot].msg_hdr.msg_name;
    uint32_t hash = name[0] ^ name[1] ^ name[2] ^ name[3] ^ name[4] ^ name[5];
    char *to = (char *)lane->slots[slot].msg_hdr.msg_control + lane->to_at;
    for (int i = 0; i < PROBES; i++) {
        struct echod_source *source = &lane->sources[((hash * 2654435761u >> 16) + i) % SOURCES];
        if (add && (!source->name[0] || i == PROBES - 1)) {
            memcpy(source->name, name, sizeof source->name);
            memcpy(source->to, to, lane->to_length);
        }
        if (!memcmp(source->name, name, sizeof source->name) && !memcmp(source->to, to, lane->to_length))
            return source;
    }
    return NULL;
}

void echod_remember(struct echod_datagrams *lane, int count) { while (count--) find(lane, count, 1); }

/* Sends the slots; counts those that the kernel does not accept. */
static void reply(struct echod_datagrams *lane, int descriptor, int count) {
    for (int slot = 0, sent; slot < count; slot += sent)
        if ((sent = sendmmsg(descriptor, lane->slots + slot, count - slot, MSG_DONTWAIT)) <= 0) {
            lane->failed += sent = 1;
            lane->failed_bytes += lane->slots[slot].msg_hdr.msg_iov->iov_len;
        }
}

/* Sends the slots to one source in one call, which the kernel splits (UDP_SEGMENT, udp(7)). Returns 0 if it failed. */
static int join(struct echod_datagrams *lane, int descriptor, int count, unsigned int size) {
    struct { struct cmsghdr head; uint64_t size; char more[CONTROL]; } control = {.size = size};
    struct iovec parts[ROUND];
    struct msghdr whole = lane->slots->msg_hdr;
    control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(2), .cmsg_level = UDP, .cmsg_type = UDP_SEGMENT};
    memcpy(control.more, whole.msg_control, whole.msg_controllen);
    whole.msg_control = &control;
    whole.msg_controllen += sizeof control - CONTROL;
    whole.msg_iov = parts;
    whole.msg_iovlen = count;
    while (count--)
        parts[count] = *lane->slots[count].msg_hdr.msg_iov;
    int sent = sendmsg(descriptor, &whole, MSG_DONTWAIT) > 0;
    if (!sent && (errno == EINVAL || errno == EMSGSIZE || errno == EIO || errno == EOPNOTSUPP))
        lane->joinable = size - 1; /* the link takes no datagram of that size, or the kernel no such send */
    return sent;
}

/* Answers the waiting datagrams. Returns 0 if all were admitted; otherwise Python answers those in the slots. */
static int answer(struct echod_loop *loop, struct echod_entry *entry, struct echod_told *told) {
    struct echod_datagrams *udp = entry->lane->datagrams;
    struct echod_source *first = NULL, *source = NULL;
    struct mmsghdr *slots = udp->slots;
    int fd = told->descriptor, alike = 1, single = udp->alone % 8; /* after one datagram, one is expected */
    int count = single ? recvmsg(fd, &slots->msg_hdr, MSG_DONTWAIT) : recvmmsg(fd, slots, ROUND, MSG_DONTWAIT, NULL);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : (told->what = FAILED);
    unsigned int size = single ? slots->msg_len = count : slots->msg_len;
    told->received = count = single ? 1 : count;
    udp->alone = count == 1 ? udp->alone + 1 : 0;
    for (int i = 0; i < count; i++, first = first ? first : source) {
        if (slots[i].msg_hdr.msg_controllen != udp->control_length || !(source = find(udp, i, 0)))
            return told->what = DATAGRAMS;
        alike &= (!first || source == first) && slots[i].msg_len == size;
    }
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &slots[i].msg_hdr;
        udp->received_bytes += header->msg_iov->iov_len = slots[i].msg_len;
        if (entry->lane->kind == UPPER) upper(header->msg_iov->iov_base, header->msg_iov->iov_len);
        if (udp->control_length) /* the reply is sent by the interface of the route */
            memset((char *)header->msg_control + udp->interface_at, 0, sizeof(int));
    }
    udp->received += count;
    loop->counted = 1;
    alike &= count > 1 && size && size <= udp->joinable && size * count <= MOST_JOINED;
    if (!alike || !join(udp, fd, count, size))
        reply(udp, fd, count);
    for (; count--; slots[count].msg_hdr.msg_controllen = CONTROL) /* ready to receive again */
        slots[count].msg_hdr.msg_iov->iov_len = UNIT;
    return 0;
}

/* Serves the descriptors of the loop for at most `rounds` rounds, and until Python has to act. Each round waits for at
 * most `timeout` ms, -1 without limit. Returns the number of entries of `told`, or a negative error of epoll_wait. */
int echod_serve(struct echod_loop *loop, int timeout, int rounds) {
    struct epoll_event events[ROUND];
    int count = 0;
    while (rounds-- > 0 && !count) {
        int ready = epoll_wait(loop->epoll, events, ROUND, timeout), stop = 0;
        if (ready <= 0)
            return ready ? -errno : 0;
        for (int i = 0; i < ready; i++) {
            struct echod_told *told = &loop->told[count];
            unsigned int descriptor = events[i].data.fd;
            struct echod_entry *entry = descriptor < loop->size ? &loop->entries[descriptor] : NULL;
            *told = (struct echod_told){descriptor, READY, 0, 0};
            /* Bytes left in the buffer or the pipe belong to a connection: Python serves the rest of the round. */
            if (stop || !entry || !entry->lane)
                told->received = events[i].events;
            else if (!(entry->lane->datagrams ? answer : forward)(loop, entry, told))
                continue;
            stop |= told->what == SHORT || told->what == SHORT_IN_PIPE || told->what == LOST_IN_PIPE;
            count++;
        }
    }
    return count;
}
