/* Many idle connections, so that the driver can measure what they cost the server.
 *
 * Prints `open`, waits for the driver, sends one byte on each connection and compares the reply, prints `used`, waits
 * again, and exits. Few connections share a source address: ports are limited, and servers count by address.
 */
#include "load.h"

#include <string.h>
#include <unistd.h>

enum { A_SOURCE = 500 };

void idle_mode(void)
{
    int *fds = allocate(opt.connections, sizeof *fds);

    for (unsigned i = 0; i < opt.connections; i++) {
        fds[i] = dial(0x020001u + i / A_SOURCE);
        if (i % SETTLE_EVERY == SETTLE_EVERY - 1 || i + 1 == opt.connections)
            settle(fds[i], (uint64_t)i * 7919u, i);
    }
    say("open");
    wait_for_driver();
    for (unsigned i = 0; i < opt.connections; i++)
        settle(fds[i], (uint64_t)i * 7919u + 1, i);
    say("used");
    wait_for_driver();
    for (unsigned i = 0; i < opt.connections; i++)
        close(fds[i]);
}
