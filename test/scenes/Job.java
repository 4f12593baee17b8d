/* SPDX-License-Identifier: LGPL-2.1-or-later */
import java.io.FileWriter;
import java.io.PrintWriter;
import java.util.ArrayDeque;
import java.util.Random;
import java.util.Timer;
import java.util.TimerTask;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** Job - computes while its heap is full of garbage and its timers fire; what it writes depends on neither */
public class Job {
	static final int WORKERS = 3, ROUNDS = 160, TICKS = 40;

	/* Keeps about 6 MB alive and throws as much away again and again; the sum is of all that came back out. */
	static long churn(int seed) throws InterruptedException {
		Random random = new Random(seed);
		ArrayDeque<byte[]> alive = new ArrayDeque<>();
		TreeMap<String, Integer> names = new TreeMap<>();
		long sum = 0;

		for (int round = 0; round < ROUNDS; round++) {
			for (int i = 0; i < 300; i++) {
				byte[] b = new byte[random.nextInt(8192) + 1];
				b[b.length - 1] = (byte) i;
				alive.add(b);
				if (alive.size() > 1500) {
					byte[] old = alive.remove();
					sum = sum * 31 + old[old.length - 1] + old.length;
				}
				names.merge("name " + random.nextInt(2000), 1, Integer::sum);
			}
			Thread.sleep(20);
		}
		for (var e : names.entrySet())
			sum = sum * 31 + e.getKey().hashCode() * e.getValue();
		return sum;
	}

	public static void main(String[] args) throws Exception {
		LinkedBlockingQueue<String> lines = new LinkedBlockingQueue<>();
		CountDownLatch ticked = new CountDownLatch(2 * TICKS);
		AtomicInteger ticks = new AtomicInteger(), beats = new AtomicInteger();
		ScheduledExecutorService scheduled = Executors.newScheduledThreadPool(2);
		Timer timer = new Timer(true);
		ExecutorService pool = Executors.newFixedThreadPool(WORKERS);
		Future<?>[] sums = new Future<?>[WORKERS];

		Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("left")));
		timer.scheduleAtFixedRate(new TimerTask() {
			@Override
			public void run() {
				if (ticks.get() < TICKS) {
					lines.add("tick " + ticks.incrementAndGet());
					ticked.countDown();
				}
			}
		}, 0, 70);
		scheduled.scheduleWithFixedDelay(() -> {
			if (beats.get() < TICKS) {
				beats.incrementAndGet();
				ticked.countDown();
			}
		}, 10, 60, TimeUnit.MILLISECONDS);
		for (int i = 0; i < WORKERS; i++) {
			int seed = i + 1;
			sums[i] = pool.submit((Callable<Long>) () -> churn(seed));
		}
		try (PrintWriter out = new PrintWriter(new FileWriter("out", true))) {
			for (int i = 0; i < TICKS; i++) {
				out.println(lines.take());
				out.flush();
			}
			for (Future<?> sum : sums)
				out.println("sum " + sum.get());
			if (!ticked.await(20, TimeUnit.SECONDS))
				System.out.println("a timer stands still");
			out.println("ticks " + ticks + ", beats " + beats);
		}
		pool.shutdown();
		scheduled.shutdown();
		System.out.println("ended: " + pool.awaitTermination(5, TimeUnit.SECONDS));
	}
}
