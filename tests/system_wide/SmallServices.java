import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import org.apache.commons.net.DatagramSocketClient;
import org.apache.commons.net.SocketClient;
import org.apache.commons.net.chargen.CharGenTCPClient;
import org.apache.commons.net.chargen.CharGenUDPClient;
import org.apache.commons.net.daytime.DaytimeTCPClient;
import org.apache.commons.net.daytime.DaytimeUDPClient;
import org.apache.commons.net.discard.DiscardTCPClient;
import org.apache.commons.net.discard.DiscardUDPClient;
import org.apache.commons.net.echo.EchoTCPClient;
import org.apache.commons.net.echo.EchoUDPClient;
import org.apache.commons.net.time.TimeTCPClient;
import org.apache.commons.net.time.TimeUDPClient;

/**
 * Sends requests to the small services through Apache commons-net. Each argument is CLIENT:PORT:MILLISECONDS; for
 * each, one line is printed with the reply, or "silent" if no reply came in that time.
 */
public class SmallServices {
    private static final byte[] ASKED = new byte[65507]; // the largest datagram
    private static int patience; // milliseconds

    public static void main(String[] arguments) throws Exception {
        new Random(862).nextBytes(ASKED);
        for (String argument : arguments) {
            String[] parts = argument.split(":");
            patience = Integer.parseInt(parts[2]);
            System.out.println(ask(parts[0], Integer.parseInt(parts[1])));
        }
    }

    private static String ask(String client, int port) throws Exception {
        try {
            switch (client) {
                case "EchoTCPClient": {
                    EchoTCPClient echo = connected(new EchoTCPClient(), port);
                    Thread sending = new Thread(() -> write(echo, ASKED));
                    sending.start();
                    byte[] came = echo.getInputStream().readNBytes(ASKED.length);
                    sending.join();
                    echo.disconnect();
                    return came.length + (Arrays.equals(came, ASKED) ? " the same" : " others");
                }
                case "EchoUDPClient": {
                    EchoUDPClient echo = open(new EchoUDPClient());
                    echo.send(ASKED, ASKED.length, here(), port);
                    byte[] came = new byte[ASKED.length + 1];
                    int length = echo.receive(came);
                    return length + (Arrays.equals(Arrays.copyOf(came, length), ASKED) ? " the same" : " others");
                }
                case "DiscardTCPClient": {
                    DiscardTCPClient discard = connected(new DiscardTCPClient(), port);
                    write(discard, "by DiscardTCPClient".getBytes(StandardCharsets.US_ASCII));
                    discard.disconnect();
                    return "sent";
                }
                case "DiscardUDPClient": {
                    DiscardUDPClient discard = open(new DiscardUDPClient());
                    byte[] line = "by DiscardUDPClient".getBytes(StandardCharsets.US_ASCII);
                    discard.send(line, line.length, here(), port);
                    return "sent";
                }
                case "CharGenTCPClient": {
                    CharGenTCPClient chargen = connected(new CharGenTCPClient(), port);
                    byte[] line = chargen.getInputStream().readNBytes(74);
                    chargen.disconnect();
                    return text(line);
                }
                case "CharGenUDPClient": { // its request is an empty datagram
                    CharGenUDPClient chargen = open(new CharGenUDPClient());
                    chargen.send(here(), port);
                    byte[] came = chargen.receive();
                    return Integer.toString(came.length);
                }
                case "DaytimeTCPClient":
                    return connected(new DaytimeTCPClient(), port).getTime().stripTrailing();
                case "DaytimeUDPClient":
                    return open(new DaytimeUDPClient()).getTime(here(), port).stripTrailing();
                case "TimeTCPClient":
                    return Long.toString(connected(new TimeTCPClient(), port).getTime());
                case "TimeUDPClient":
                    return Long.toString(open(new TimeUDPClient()).getTime(here(), port));
                default:
                    throw new IllegalArgumentException(client);
            }
        } catch (SocketTimeoutException silent) {
            return "silent";
        }
    }

    private static InetAddress here() throws IOException {
        return InetAddress.getByName("127.0.0.1");
    }

    private static <Client extends SocketClient> Client connected(Client client, int port) throws IOException {
        client.connect("127.0.0.1", port);
        client.setSoTimeout(patience);
        return client;
    }

    private static <Client extends DatagramSocketClient> Client open(Client client) throws IOException {
        client.open();
        client.setSoTimeout(patience);
        return client;
    }

    private static void write(DiscardTCPClient client, byte[] data) {
        try {
            client.getOutputStream().write(data);
            client.getOutputStream().flush();
        } catch (IOException wrong) {
            throw new RuntimeException(wrong);
        }
    }

    private static String text(byte[] data) {
        return new String(data, StandardCharsets.US_ASCII).stripTrailing();
    }
}
