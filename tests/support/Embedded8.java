import java.io.File;
import java.util.Arrays;
import org.gradle.api.internal.StartParameterInternal;
import org.gradle.api.logging.LogLevel;
import org.gradle.api.logging.configuration.ConsoleOutput;
import org.gradle.initialization.DefaultBuildCancellationToken;
import org.gradle.initialization.DefaultBuildRequestContext;
import org.gradle.initialization.DefaultBuildRequestMetaData;
import org.gradle.initialization.NoOpBuildEventConsumer;
import org.gradle.internal.buildprocess.BuildProcessState;
import org.gradle.internal.classpath.ClassPath;
import org.gradle.internal.instrumentation.agent.AgentStatus;
import org.gradle.internal.logging.LoggingManagerInternal;
import org.gradle.internal.logging.services.DefaultLoggingManagerFactory;
import org.gradle.internal.logging.services.LoggingServiceRegistry;
import org.gradle.internal.nativeintegration.services.NativeServices;
import org.gradle.internal.service.ServiceRegistry;
import org.gradle.launcher.exec.BuildActionResult;
import org.gradle.launcher.exec.BuildExecutor;
import org.gradle.launcher.exec.DefaultBuildActionParameters;
import org.gradle.tooling.internal.provider.action.ExecuteBuildAction;

/** Runs a build in this process: HOME PROJECT INIT_SCRIPT TASK... */
public class Embedded8 {
    public static void main(String[] words) {
        File home = new File(words[0]);
        File project = new File(words[1]);
        ServiceRegistry logging = LoggingServiceRegistry.newCommandLineProcessLogging();
        NativeServices.initializeOnDaemon(home, NativeServices.NativeServicesMode.DISABLED);
        LoggingManagerInternal output = logging.get(DefaultLoggingManagerFactory.class).create();
        output.setLevelInternal(LogLevel.QUIET).start();
        output.attachProcessConsole(ConsoleOutput.Plain);
        StartParameterInternal start = new StartParameterInternal();
        start.setGradleUserHomeDir(home);
        start.setCurrentDir(project);
        start.setProjectDir(project);
        start.setLogLevel(LogLevel.QUIET);
        start.addInitScript(new File(words[2]));
        start.setTaskNames(Arrays.asList(words).subList(3, words.length));
        BuildActionResult result;
        try (BuildProcessState process = new BuildProcessState(
                false, AgentStatus.disabled(), ClassPath.EMPTY, logging,
                NativeServices.getInstance())) {
            result = process.getServices().get(BuildExecutor.class).execute(
                new ExecuteBuildAction(start),
                new DefaultBuildActionParameters(System.getProperties(), System.getenv(), project,
                    LogLevel.QUIET, false, ClassPath.EMPTY),
                new DefaultBuildRequestContext(
                    new DefaultBuildRequestMetaData(System.currentTimeMillis()),
                    new DefaultBuildCancellationToken(), new NoOpBuildEventConsumer()));
        }
        output.stop();
        System.exit(result.hasFailure() ? 1 : 0);
    }
}
