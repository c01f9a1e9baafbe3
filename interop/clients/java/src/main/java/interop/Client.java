package interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.TimeUnit;
import org.redisson.Redisson;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/** Redisson's RLock as a program that a test can talk to; the words are in src/driver.rs. */
public final class Client {
    private Client() {}

    public static void main(String[] words) throws Exception {
        Config config = new Config();
        config.useSingleServer()
                .setAddress("redis://127.0.0.1:" + words[1])
                .setConnectionMinimumIdleSize(1)
                .setConnectionPoolSize(4)
                .setSubscriptionConnectionMinimumIdleSize(1);
        RedissonClient redisson = Redisson.create(config);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(answer(redisson, line.trim().split(" ")));
            System.out.flush();
        }
        redisson.shutdown();
    }

    private static String answer(RedissonClient redisson, String[] words) throws InterruptedException {
        RLock lock = redisson.getLock(words[1]);
        try {
            switch (words[0]) {
                case "try":
                    return lock.tryLock(0, Long.parseLong(words[2]), TimeUnit.MILLISECONDS) ? "held" : "busy";
                case "wait":
                    return lock.tryLock(Long.parseLong(words[3]), Long.parseLong(words[2]), TimeUnit.MILLISECONDS)
                            ? "held"
                            : "busy";
                case "release":
                    lock.unlock();
                    return "released";
                default:
                    return "unknown " + String.join(" ", words);
            }
        } catch (org.redisson.client.RedisException error) {
            // A string at the key is not what it can read: it says so instead of waiting.
            return "error " + error.getMessage().replace('\n', ' ');
        }
    }
}
