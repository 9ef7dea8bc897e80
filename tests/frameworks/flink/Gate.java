import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;

/**
 * Lets everything through, before the sink and in its chain, and has the test say when a job goes on. After its part of
 * a checkpoint subtask 0 lets one record through and waits with the next one for "go": what it wrote before the
 * checkpoint is then prepared and cannot be committed, and its next transaction is open. Subtask 1 takes its part only
 * then, so the checkpoint is not complete before. "free" ends all waiting.
 */
public class Gate extends RichMapFunction<Tuple2<String, String>, Tuple2<String, String>>
    implements CheckpointedFunction, CheckpointListener {
    private static final Object LOCK = new Object();
    private static boolean free;
    private static boolean waits;
    private static long held;

    private transient int passed;
    private transient long checkpoint;

    static void told(String line) {
        synchronized (LOCK) {
            if (line.equals("free")) free = true;
            waits = false;
            LOCK.notifyAll();
        }
    }

    private boolean first() {
        return getRuntimeContext().getTaskInfo().getIndexOfThisSubtask() == 0;
    }

    @Override
    public void initializeState(FunctionInitializationContext context) {
        Counts.say("open " + getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) throws InterruptedException {
        synchronized (LOCK) {
            if (free) return;
            if (first()) {
                checkpoint = context.getCheckpointId();
                passed = 0;
                Counts.say("prepared " + checkpoint);
                return;
            }
            while (!free && held < context.getCheckpointId()) LOCK.wait();
        }
    }

    @Override
    public Tuple2<String, String> map(Tuple2<String, String> record) throws InterruptedException {
        if (checkpoint == 0 || ++passed < 2) return record;
        synchronized (LOCK) {
            if (free) return record;
            held = checkpoint;
            checkpoint = 0;
            waits = true;
            LOCK.notifyAll();
            Counts.say("held " + held);
            while (waits) LOCK.wait();
        }
        return record;
    }

    @Override
    public void notifyCheckpointComplete(long id) {
        synchronized (LOCK) {
            if (!free && !first()) Counts.say("complete " + id);
        }
    }
}
