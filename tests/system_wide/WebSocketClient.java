import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;

/** Sends messages to an echo service with java.net.http, and prints what came back. The argument is the URL. */
public final class WebSocketClient implements WebSocket.Listener {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private final StringBuilder text = new StringBuilder();
    private CompletableFuture<Object> reply = new CompletableFuture<>();
    private final CompletableFuture<String> pong = new CompletableFuture<>();
    private final CompletableFuture<Integer> closed = new CompletableFuture<>();

    public static void main(String[] arguments) throws Exception {
        WebSocketClient client = new WebSocketClient();
        WebSocket socket = HttpClient.newHttpClient().newWebSocketBuilder()
            .buildAsync(URI.create(arguments[0]), client).get(60, TimeUnit.SECONDS);
        byte[] large = new byte[1 << 20];
        Arrays.fill(large, (byte) 7);
        socket.sendText("Hello ✓", true).get(60, TimeUnit.SECONDS);
        System.out.println(client.next().equals("Hello ✓") ? "text" : "wrong text");
        socket.sendText("two ", false).get(60, TimeUnit.SECONDS);
        socket.sendText("fragments", true).get(60, TimeUnit.SECONDS);
        System.out.println(client.next().equals("two fragments") ? "fragments" : "wrong fragments");
        socket.sendBinary(ByteBuffer.wrap(large), true).get(60, TimeUnit.SECONDS);
        System.out.println(Arrays.equals((byte[]) client.next(), large) ? "binary" : "wrong binary");
        socket.sendPing(ByteBuffer.wrap("there?".getBytes(StandardCharsets.UTF_8))).get(60, TimeUnit.SECONDS);
        System.out.println(client.pong.get(60, TimeUnit.SECONDS));
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "done").get(60, TimeUnit.SECONDS);
        System.out.println(client.closed.get(60, TimeUnit.SECONDS));
    }

    private Object next() throws Exception {
        Object received = reply.get(60, TimeUnit.SECONDS);
        reply = new CompletableFuture<>();
        return received;
    }

    @Override public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
        text.append(part);
        socket.request(1);
        if (last) {
            String whole = text.toString();
            text.setLength(0);
            reply.complete(whole);
        }
        return null;
    }

    @Override public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer part, boolean last) {
        byte[] some = new byte[part.remaining()];
        part.get(some);
        bytes.writeBytes(some);
        socket.request(1);
        if (last) {
            byte[] whole = bytes.toByteArray();
            bytes.reset();
            reply.complete(whole);
        }
        return null;
    }

    @Override public CompletionStage<?> onPong(WebSocket socket, ByteBuffer data) {
        pong.complete(StandardCharsets.UTF_8.decode(data).toString());
        socket.request(1);
        return null;
    }

    @Override public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
        closed.complete(code);
        return null;
    }
}
