import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/** HDFS with one data node: says its URI, and ends when its standard input does. */
public class Hdfs {
    public static void main(String[] args) throws Exception {
        var settings = new Configuration();
        settings.set(MiniDFSCluster.HDFS_MINIDFS_BASEDIR, args[0]);
        try (var hdfs = new MiniDFSCluster.Builder(settings).numDataNodes(1).build()) {
            hdfs.waitActive();
            System.out.println(hdfs.getURI());
            System.in.transferTo(System.err);
        }
    }
}
