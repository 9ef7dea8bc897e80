import java.io.IOException;
import org.apache.avro.generic.GenericRecord;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.io.NullWritable;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.mapreduce.Job;
import org.apache.hadoop.mapreduce.Mapper;
import org.apache.hadoop.mapreduce.lib.input.FileInputFormat;
import org.apache.hadoop.mapreduce.lib.input.FileSplit;
import org.apache.hadoop.mapreduce.lib.output.TextOutputFormat;
import org.apache.parquet.avro.AvroParquetInputFormat;

/** A MapReduce job over Hadoop's layout: one line for each row, its hour's folder and the row as JSON. */
public class ReadParquet {
    public static class Lines extends Mapper<Void, GenericRecord, Text, NullWritable> {
        @Override
        protected void map(Void none, GenericRecord row, Context context) throws IOException, InterruptedException {
            Path file = ((FileSplit) context.getInputSplit()).getPath();
            String[] folders = file.getParent().toUri().getPath().split("/");
            String[] hour = java.util.Arrays.copyOfRange(folders, folders.length - 4, folders.length);
            context.write(new Text(String.join("/", hour) + "\t" + row), NullWritable.get());
        }
    }

    public static void main(String[] args) throws Exception {
        String root = args[0], work = args[1], output = args[2];
        var settings = new Configuration();
        settings.set("hadoop.tmp.dir", work);
        Job job = Job.getInstance(settings, "read");
        job.setJarByClass(ReadParquet.class);
        job.setInputFormatClass(AvroParquetInputFormat.class);
        FileInputFormat.setInputDirRecursive(job, true);
        FileInputFormat.addInputPath(job, new Path(root));
        job.setMapperClass(Lines.class);
        job.setNumReduceTasks(1);
        job.setOutputKeyClass(Text.class);
        job.setOutputValueClass(NullWritable.class);
        job.setOutputFormatClass(TextOutputFormat.class);
        TextOutputFormat.setOutputPath(job, new Path(output));
        System.exit(job.waitForCompletion(false) ? 0 : 1);
    }
}
