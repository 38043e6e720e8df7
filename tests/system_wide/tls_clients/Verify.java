// Connects over TLS to localhost, and prints "accepted" or the error: Verify PORT CA [CRL].
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.CertPathBuilder;
import java.security.cert.X509CertSelector;
import java.util.EnumSet;
import java.util.List;
import javax.net.ssl.CertPathTrustManagerParameters;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class Verify {
    public static void main(String[] words) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null);
        try (InputStream file = Files.newInputStream(Path.of(words[1]))) {
            trusted.setCertificateEntry("ca", factory.generateCertificate(file));
        }
        PKIXBuilderParameters parameters = new PKIXBuilderParameters(trusted, new X509CertSelector());
        parameters.setRevocationEnabled(false);
        if (words.length > 2) {
            try (InputStream file = Files.newInputStream(Path.of(words[2]))) {
                parameters.addCertStore(CertStore.getInstance(
                    "Collection", new CollectionCertStoreParameters(List.of(factory.generateCRL(file)))));
            }
            PKIXRevocationChecker checker =
                (PKIXRevocationChecker) CertPathBuilder.getInstance("PKIX").getRevocationChecker();
            checker.setOptions(EnumSet.of(
                PKIXRevocationChecker.Option.PREFER_CRLS, PKIXRevocationChecker.Option.NO_FALLBACK));
            parameters.addCertPathChecker(checker);
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(new CertPathTrustManagerParameters(parameters));
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory()
                .createSocket("localhost", Integer.parseInt(words[0]))) {
            SSLParameters ours = socket.getSSLParameters();
            ours.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(ours);
            socket.startHandshake();
            System.out.println("accepted");
        } catch (Exception error) {
            Throwable last = error;
            while (last.getCause() != null) {
                last = last.getCause();
            }
            System.out.println(last.toString().lines().findFirst().orElse(""));
        }
    }
}
