/* load MODE OPTIONS: see load.h for the guarantees, and `load --help` for the options. */
#include "load.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct options opt = {.host = "127.0.0.1", .connections = 1, .size = 64, .depth = 1, .flows = 1, .seconds = 1, .warm = 0.2};

static const char HELP[] =
    "load stream|connect|idle|datagram|websocket|websocket-idle|tls|tls-connect|tls-idle --port PORT [OPTIONS]\n"
    "  --host A           IPv4 address (127.0.0.1)\n"
    "  --unix PATH        a Unix stream instead\n"
    "  --connections N    open at once (1)\n"
    "  --size N           bytes per message (64)\n"
    "  --depth N          messages in flight: per connection, or in total for datagrams (1)\n"
    "  --flows N          datagram: sockets that send in turn (1)\n"
    "  --gso              datagram: send with UDP_SEGMENT, receive with UDP_GRO\n"
    "  --upper            the reply is expected in upper case\n"
    "  --proxy            stream, connect: send a PROXY header of version 2 first\n"
    "  --resume           tls-connect: resume the session of the connection before\n"
    "  --fin              tls: the server may answer close_notify with a FIN alone\n"
    "  --burst            tls-idle: each connection carries 64 KiB\n"
    "  --warm S           seconds of warm-up (0.2)\n"
    "  --seconds S        of the measured slice (1)\n";

static const struct option LONG[] = {
    {"host", required_argument, NULL, 'a'},  {"port", required_argument, NULL, 'p'},  {"unix", required_argument, NULL, 'x'},
    {"size", required_argument, NULL, 's'},  {"depth", required_argument, NULL, 'd'}, {"flows", required_argument, NULL, 'f'},
    {"gso", no_argument, NULL, 'g'},         {"upper", no_argument, NULL, 'u'},       {"resume", no_argument, NULL, 'r'},
    {"fin", no_argument, NULL, 'F'},
    {"burst", no_argument, NULL, 'b'},       {"warm", required_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},        {"seconds", required_argument, NULL, 't'},
    {"connections", required_argument, NULL, 'c'}, {"proxy", no_argument, NULL, 'o'}, {NULL, 0, NULL, 0},
};

static unsigned number(const char *text, const char *name)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || value < 1 || value > 1 << 24)
        fail("--%s: %s is not a count", name, text);
    return (unsigned)value;
}

static double duration(const char *text, const char *name)
{
    char *end;
    double value = strtod(text, &end);

    if (*text == '\0' || *end != '\0' || !(value >= 0 && value <= 3600))
        fail("--%s: %s is not a number of seconds", name, text);
    return value;
}

static void parse(int argc, char **argv)
{
    int letter, at;

    while ((letter = getopt_long(argc, argv, "", LONG, &at)) != -1) {
        switch (letter) {
        case 'a': opt.host = optarg; break;
        case 'p': opt.port = (int)number(optarg, "port"); break;
        case 'x': opt.path = optarg; break;
        case 'c': opt.connections = number(optarg, "connections"); break;
        case 's': opt.size = number(optarg, "size"); break;
        case 'd': opt.depth = number(optarg, "depth"); break;
        case 'f': opt.flows = number(optarg, "flows"); break;
        case 'g': opt.gso = true; break;
        case 'u': opt.upper = true; break;
        case 'o': opt.proxy = true; break;
        case 'r': opt.resume = true; break;
        case 'F': opt.fin = true; break;
        case 'b': opt.burst = true; break;
        case 'w': opt.warm = duration(optarg, "warm"); break;
        case 't': opt.seconds = duration(optarg, "seconds"); break;
        case 'h': fputs(HELP, stdout); exit(0);
        default: exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } MODES[] = {
        {"stream", stream_mode}, {"connect", connect_mode}, {"idle", idle_mode}, {"datagram", datagram_mode},
        {"websocket", websocket_mode}, {"websocket-idle", websocket_idle_mode},
        {"tls", tls_mode}, {"tls-connect", tls_connect_mode}, {"tls-idle", tls_idle_mode},
    };
    struct rlimit files;

    signal(SIGPIPE, SIG_IGN);
    parse(argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (opt.upper && optind < argc && strcmp(argv[optind], "datagram") == 0)
        fail("--upper: not for datagrams: it would change their numbers");
    for (size_t i = 0; optind + 1 == argc && i < sizeof MODES / sizeof *MODES; i++) {
        if (strcmp(argv[optind], MODES[i].name) == 0) {
            pattern_make();
            MODES[i].run();
            return 0;
        }
    }
    fputs(HELP, stderr);
    return 2;
}
